import numpy as np
import pytest

from gradebook.mpl.open_set import unlike_any_class

NONE = np.empty(0, np.int64)


def groups(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three groups of samples around orthogonal directions; the third is of no class."""
    random = np.random.default_rng(seed)
    group = np.repeat([0, 1, 2], 30)
    return np.eye(8)[group] + random.normal(scale=0.1, size=(90, 8)), group


def test_samples_far_from_every_label_are_most_unlike_and_rejected_ones_help():
    features, group = groups()
    labelled = np.array([0, 1, 30, 31])
    unlike = unlike_any_class(features, labelled, NONE)
    assert unlike[group == 2].min() > np.delete(unlike, labelled)[: 60 - len(labelled)].max()
    informed = unlike_any_class(features, labelled, np.array([60]))
    others = np.setdiff1d(np.arange(90), [*labelled, 60])
    assert informed[others][group[others] == 2].min() > 0.7 > 0.5 > informed[others][group[others] < 2].max()


def test_a_sample_is_not_compared_with_itself():
    features, _ = groups()
    assert unlike_any_class(features, np.array([0]), NONE)[0] == pytest.approx(1)


def test_without_labels_nothing_is_known():
    features, _ = groups()
    assert np.isnan(unlike_any_class(features, NONE, np.array([3]))).all()
