"""The baselines of the studies: distributions over the classes, learned from few labels of separate groups."""

import numpy as np
import pytest

from gradebook.pipelines.studies.baselines import BASELINES, pt_map

CLASSES, FEATURES, LABELLED = 4, 24, 3


def groups(seed: int, sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Points around a centre for each class, and their classes."""
    centres = np.random.default_rng(0).normal(size=(CLASSES, FEATURES))
    y = np.repeat(np.arange(CLASSES), sizes)
    return (centres[y] + 0.4 * np.random.default_rng(seed).normal(size=(len(y), FEATURES))).astype(np.float32), y


def few_labels(y: np.ndarray) -> np.ndarray:
    labels = np.full(len(y), -1)
    for c in range(CLASSES):
        labels[np.flatnonzero(y == c)[:LABELLED]] = c
    return labels


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_learns_separate_groups_and_gives_distributions(name):
    (x, y), (test, truth) = groups(1, (60,) * CLASSES), groups(2, (20,) * CLASSES)
    probabilities = BASELINES[name](x, few_labels(y), test, CLASSES)
    assert probabilities.shape == (len(test), CLASSES)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (probabilities.argmax(1) == truth).mean() > 0.9


@pytest.mark.parametrize("name", BASELINES)
def test_no_baseline_sees_the_test_images(name):
    (x, y), (test, _) = groups(1, (60,) * CLASSES), groups(2, (20,) * CLASSES)
    together = BASELINES[name](x, few_labels(y), test, CLASSES)
    alone = BASELINES[name](x, few_labels(y), test[:5], CLASSES)
    np.testing.assert_allclose(together[:5], alone, atol=1e-4)


def test_pt_map_expects_classes_of_equal_size():
    x, y = groups(1, (300, 20, 20, 20))
    predicted = pt_map(x, few_labels(y), x, CLASSES).argmax(1)
    assert (predicted == 0).mean() < (y == 0).mean() - 0.1
