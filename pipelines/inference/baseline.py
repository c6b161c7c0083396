"""Logistic regression on the vectors and labels of a run: the baseline that a run is compared with.

Shape legend    N samples    D features    K classes
"""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.runs import Run

if TYPE_CHECKING:
    from gradebook.storage.samples import Sample
    from gradebook.storage.store import Store

STATISTICS_SAMPLES = 20_000  # of the training set at most, for means and standard deviations
MAX_ITERATIONS = 1_000


def logistic_baseline(store: "Store", run: Run, samples: "list[Sample]") -> NDArray[np.float64] | None:
    """Returns the probabilities (N, K) of samples by logistic regression, in the run's order of classes.

    It is fitted to the run's labels, except those held out for validation, on the plain cached views, standardised by
    the mean and standard deviation of the training set, with scikit-learn's default penalty.

    Returns:
        None for a run on pixels, without vectors of all samples, or with labels of fewer than two classes.
    """
    config = run.config()
    backbone = config["backbone"]
    if config["inputs"] != "views" or all(space.backbone != backbone for space in store.vectors.spaces()):
        return None
    labels, pool = _labels_and_pool(run)
    sample_ids = [*labels, *pool, *(sample.sample_id for sample in samples)]
    if len(set(labels.values())) < 2 or store.vectors.missing(backbone, sample_ids):
        return None
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(_plain(store, backbone, pool))
    train, test = (
        scaler.transform(_plain(store, backbone, ids)) for ids in (list(labels), [s.sample_id for s in samples])
    )
    classes = config["classes"]
    model = logistic_regression().fit(train, [classes.index(name) for name in labels.values()])
    return class_probabilities(model, test, len(classes))


def logistic_regression() -> Any:
    """Returns scikit-learn's logistic regression with its default penalty, not fitted yet."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=MAX_ITERATIONS)


def class_probabilities(model: Any, x: NDArray[np.floating], classes: int) -> NDArray[np.float64]:
    """Returns the probabilities (N, K) of a fitted scikit-learn classifier, 0 for classes that it was not fitted to.

    Args:
        model: fitted to class indices; -1 is scikit-learn's mark of a sample without a label.
        x: (N, D).
        classes: K.
    """
    rows = np.zeros((len(x), classes))
    rows[:, [c for c in model.classes_ if c >= 0]] = model.predict_proba(x)
    return rows


def _labels_and_pool(run: Run) -> tuple[dict[str, str], list[str]]:
    """Returns the labels that the run was trained on, and a part of its training set."""
    from gradebook.pipelines.training.dataset import SAMPLES

    saved: dict[str, Any] = json.loads((run.path / SAMPLES).read_text(encoding="utf-8"))
    ids = saved["sample_ids"]
    held_out = {ids[position] for position in saved["validation"]}
    labels = {sample_id: name for sample_id, name in run.labels().items() if sample_id not in held_out}
    return labels, ids[:: max(1, len(ids) // STATISTICS_SAMPLES)]


def _plain(store: "Store", backbone: str, sample_ids: list[str]) -> NDArray[np.float32]:
    return store.vectors.read(backbone, sample_ids, views=1)[:, 0].astype(np.float32)
