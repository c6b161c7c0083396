"""The feature classifier of a run: a second opinion on its predictions, from the features of a frozen backbone.

It is fitted to the run's predictions when it is first needed (`gradebook.mpl.gaussian_classifier`), and its output is
cached with them. Loads no torch.

Shape legend    N samples    d features    K classes
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.runs import PREDICTIONS, Run
from gradebook.storage.files import atomic_path, writing_cache
from gradebook.storage.project import ProjectError
from gradebook.storage.run_classes import RunClasses, run_classes

if TYPE_CHECKING:
    from gradebook.storage.store import Store

SAMPLES = "samples.json"
CACHE = "reading.npz"
SCHEMA_VERSION = 3  # cached output of other versions is computed again


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureClassifierOutput:
    """The classifier's output for all embedded samples that the run began with, labelled or not."""

    fingerprint: NDArray[np.str_]  # () of the predictions and embeddings that it was computed from
    sample_ids: NDArray[np.str_]  # (N,)
    space: NDArray[np.float16]  # (N, d) features, scaled to the classifier's distance
    probabilities: NDArray[np.float32]  # (N, K)
    neighbour_mean: NDArray[np.float32]  # (N, K) mean of `probabilities` over the nearest neighbours
    label_free: NDArray[np.float32]  # (N, K) of a classifier that was fitted without labels, to judge labels by
    label_free_neighbour_mean: NDArray[np.float32]  # (N, K) mean of `label_free` over the nearest neighbours
    similarity: NDArray[np.float32]  # (N,) mean cosine similarity to the nearest neighbours
    duplicate_of: NDArray[np.int32]  # (N,) row of the most similar earlier near-duplicate, -1 if there is none


ON_DISK = {  # field -> its name in the cache
    "fingerprint": "made_of",
    "sample_ids": "sample_ids",
    "space": "space",
    "probabilities": "said",
    "neighbour_mean": "around",
    "label_free": "fair",
    "label_free_neighbour_mean": "around_fair",
    "similarity": "similarity",
    "duplicate_of": "twins",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """The predictions of student and teacher of a finished run for its unlabelled samples."""

    classes: list[str]
    sample_ids: list[str]
    student: NDArray[np.float64]  # (N, K)
    teacher: NDArray[np.float64]  # (N, K), NaN if the method has no teacher


def classes_of(store: "Store", run: Run) -> RunClasses:
    """Returns the classes of a run under their present names."""
    return run_classes(run.config(), store.project.history)


def read_predictions(run: Run, class_map: RunClasses | None = None) -> Predictions:
    """Reads the predictions of a finished run.

    Args:
        run: a run.
        class_map: its classes, to return the predictions under their present names; None for those that the run has.

    Raises:
        ProjectError: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = run.results / PREDICTIONS
    try:
        table = pq.read_table(path)
        classes = json.loads(table.schema.metadata[b"classes"])
        student, teacher = (_distributions(table[name], len(classes)) for name in ("student", "teacher"))
        if class_map is not None and class_map.have_changed:
            classes, student, teacher = list(class_map.names), class_map.merge(student), class_map.merge(teacher)
        return Predictions(classes=classes, sample_ids=table["sample_id"].to_pylist(), student=student, teacher=teacher)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ProjectError(
            f"{path} cannot be read ({error}): restore it from a backup, or delete it and resume the run, "
            f"which writes it again"
        ) from error


def classify_features(store: "Store", run: Run, predictions: Predictions) -> FeatureClassifierOutput | None:
    """Returns the output of a run's feature classifier, cached or computed now; None if samples have no embeddings.

    The features are of the run's backbone if it has embeddings, else of the newest embedding space.
    """
    backbone = backbone_of(store, run)
    if backbone is None:
        return None
    ids = _embedded(store, backbone, run, predictions)
    if len(ids) < 2:
        return None
    stat = (run.results / PREDICTIONS).stat()
    known = classes_of(store, run).fingerprint
    fingerprint = f"{SCHEMA_VERSION} {backbone} {len(ids)} {stat.st_size} {stat.st_mtime_ns}{known}"
    output = _read_cache(run.results / CACHE, fingerprint)
    if output is None:
        output = _fit(store, run, backbone, ids, predictions, fingerprint)
        _write_cache(run.results / CACHE, output)
    return output


def _fit(
    store: "Store", run: Run, backbone: str, ids: Sequence[str], predictions: Predictions, fingerprint: str
) -> FeatureClassifierOutput:
    from gradebook.mpl.gaussian_classifier import fit_predict, nearest, principal_components

    features = principal_components(store.vectors.read(backbone, ids))
    targets = mean_predictions(predictions, ids)
    index = {name: k for k, name in enumerate(predictions.classes)}
    known = classes_of(store, run)
    labels = {i: known.rename(label) for i, label in run.labels().items()}
    probabilities, space = fit_predict(
        features, targets, np.array([index.get(labels.get(i) or "", -1) for i in ids], np.int64)
    )
    label_free, _ = fit_predict(features, targets)
    neighbours, similarity = nearest(space)
    return FeatureClassifierOutput(
        fingerprint=np.array(fingerprint),
        sample_ids=np.array(ids),
        space=space.astype(np.float16),
        probabilities=probabilities.astype(np.float32),
        neighbour_mean=probabilities[neighbours].mean(1).astype(np.float32),
        label_free=label_free.astype(np.float32),
        label_free_neighbour_mean=label_free[neighbours].mean(1).astype(np.float32),
        similarity=similarity.mean(1),
        duplicate_of=find_duplicates(store, ids),
    )


def mean_predictions(predictions: Predictions, ids: Sequence[str]) -> NDArray[np.float64]:
    """Returns what the classifier is fitted to: the mean prediction (N, K) of student and teacher, NaN without one."""
    position = {sample_id: row for row, sample_id in enumerate(predictions.sample_ids)}
    rows = np.array([position.get(sample_id, -1) for sample_id in ids])
    no_teacher = np.isnan(predictions.teacher).any(1, keepdims=True)
    mean = np.where(no_teacher, predictions.student, (predictions.student + predictions.teacher) / 2)
    return np.where(rows[:, None] < 0, np.nan, mean[rows])


def find_duplicates(store: "Store", ids: Sequence[str]) -> NDArray[np.int32]:
    """Returns the row (N,) of the most similar earlier near-duplicate of each sample, -1 if there is none."""
    from gradebook.storage.duplicates import near_duplicates, stack_fingerprints
    from gradebook.storage.image_detail import file_comparison

    samples = store.catalog.get(ids)
    fingerprints = stack_fingerprints([sample.fingerprint for sample in samples])
    is_same = file_comparison([(sample.filepath, sample.sample_id) for sample in samples])
    pairs = near_duplicates(fingerprints, fingerprints[:0], is_same)
    duplicate_of = np.full(len(ids), -1, np.int32)
    duplicate_of[pairs[:, 0]] = pairs[:, 1]
    return duplicate_of


def backbone_of(store: "Store", run: Run) -> str | None:
    """Returns the backbone whose features a run's classifier uses, None if there are no embeddings at all."""
    names = [space.backbone for space in store.vectors.spaces()]
    own = run.config().get("backbone")
    if own in names:
        return str(own)
    return names[-1] if names else None


def _embedded(store: "Store", backbone: str, run: Run, predictions: Predictions) -> list[str]:
    path = run.path / SAMPLES
    ids = json.loads(path.read_text(encoding="utf-8"))["sample_ids"] if path.exists() else predictions.sample_ids
    missing = set(store.vectors.missing(backbone, ids))
    return [sample_id for sample_id in ids if sample_id not in missing]


def _read_cache(path: Path, fingerprint: str) -> FeatureClassifierOutput | None:
    """Returns the cached output; None if there is none, or it is corrupt or has another fingerprint."""
    try:
        with np.load(path) as file:
            output = FeatureClassifierOutput(**{name: file[on_disk] for name, on_disk in ON_DISK.items()})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return output if str(output.fingerprint) == fingerprint else None


def _write_cache(path: Path, output: FeatureClassifierOutput) -> None:
    with writing_cache(), atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{on_disk: getattr(output, name) for name, on_disk in ON_DISK.items()})


def _distributions(column: Any, classes: int) -> NDArray[np.float64]:
    """Returns a column of lists as (N, K), NaN where it is null."""
    if column.null_count or not len(column):
        return np.full((len(column), classes), np.nan)
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float64).reshape(len(column), classes)
