"""Accuracy on random parts of the labels: the points through which a learning curve is fitted.

The classifier is logistic regression on standardised embeddings, which takes seconds. It is scored on labelled test
images if there are enough, or else by cross-validation: on each part of the labels in turn, by classifiers that were
fitted to nested random subsets of the others.

Shape legend    N labelled images    M test images    D features    P sizes    R repeats
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SHARES = (0.25, 0.4, 0.6, 0.8, 1.0)  # of the labels that can be fitted to
FOLDS, REPEATS = 5, 2  # of the cross-validation
# The classifiers of a cross-validation share most of their images, so their accuracies are correlated. In the variance
# of their mean, Nadeau and Bengio (2003, https://doi.org/10.1023/A:1024068626366) replace 1/K by 1/K + tested/fitted.
CORRELATED = 1 + FOLDS / (FOLDS - 1)
TEST_REPEATS = 6  # random orders of the labels, where there are test images
MIN_PER_SIZE = 4  # labels

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Points:
    """Measured points, and the predictions with the most labels."""

    sizes: NDArray[np.float64]  # (P,) labels fitted to
    accuracy: NDArray[np.float64]  # (P,)
    deviation: NDArray[np.float64]  # (P,) standard deviation over which labels were drawn
    scored: int  # distinct images that were scored
    truth: Indices  # of the predictions with the most labels
    predicted: Indices
    variance_factor: float = 1.0  # by which the variance of an accuracy exceeds that of as many independent images


def cross_validated(x: Floats, y: Indices, *, seed: int, progress: Progress) -> Points:
    """Returns the points of labelled images (N, D), each scored by classifiers that were not fitted to it."""
    random, jobs = np.random.default_rng(seed), []
    for _ in range(REPEATS):
        folds = np.empty(len(y), np.int64)
        for k in np.unique(y):  # the same share of each class in each fold
            members = random.permutation(np.flatnonzero(y == k))
            folds[members] = (np.arange(len(members)) + random.integers(FOLDS)) % FOLDS
        jobs += [
            (random.permutation(np.flatnonzero(folds != fold)), np.flatnonzero(folds == fold)) for fold in range(FOLDS)
        ]
    (x,) = _in_span(x)
    points = _measure(_Images(x, y, x, y), jobs, groups=REPEATS, progress=progress)
    return replace(points, variance_factor=CORRELATED)


def on_test(x: Floats, y: Indices, test: Floats, truth: Indices, *, seed: int, progress: Progress) -> Points:
    """Returns the points of labelled images (N, D), scored on test images (M, D)."""
    random = np.random.default_rng(seed)
    jobs = [(random.permutation(len(y)), np.arange(len(truth))) for _ in range(TEST_REPEATS)]
    x, test = _in_span(x, test)
    return _measure(_Images(x, y, test, truth), jobs, groups=TEST_REPEATS, progress=progress)


def fit_and_predict(x: Floats, y: Indices, test: Floats) -> Indices:
    """Returns the classes (M,) of test images by logistic regression on images with labels."""
    from gradebook.pipelines.inference.baseline import logistic_regression

    if len(np.unique(y)) < 2:
        return np.full(len(test), y[0])
    return np.asarray(logistic_regression().fit(x, y).predict(test), np.int64)


def _in_span(x: Floats, *others: Floats) -> list[Floats]:
    """Returns the vectors in a basis of the span of x (N, D): fewer numbers, and the same logistic regression.

    A ridge penalty does not depend on the basis, and no weight points out of the span of what is fitted to.
    """
    basis = np.linalg.qr(x.T)[0]  # (D, min(N, D))
    return [vectors @ basis for vectors in (x, *others)]


@dataclass(frozen=True, slots=True)
class _Images:
    """The images to fit to and those to score."""

    x: Floats  # (N, D)
    y: Indices  # (N,)
    test: Floats  # (M, D)
    truth: Indices  # (M,)


def _measure(images: _Images, jobs: list[tuple[Indices, Indices]], *, groups: int, progress: Progress) -> Points:
    """Fits to nested subsets of each job's order of labels and scores its images; `groups` of jobs score all images."""
    sizes = sorted({max(MIN_PER_SIZE, int(share * min(len(order) for order, _ in jobs))) for share in SHARES})
    right, full = [[list[bool]() for _ in range(groups)] for _ in sizes], list[tuple[Indices, Indices]]()
    for number, (order, scored) in enumerate(jobs):
        for k, size in enumerate(sizes):
            predicted = fit_and_predict(images.x[order[:size]], images.y[order[:size]], images.test[scored])
            right[k][number * groups // len(jobs)] += (predicted == images.truth[scored]).tolist()
            if size == sizes[-1]:
                full.append((images.truth[scored], predicted))
        progress(number + 1, len(jobs))
    means = np.array([[np.mean(group) for group in groups] for groups in right])  # (P, R)
    count = len(np.unique(np.concatenate([scored for _, scored in jobs])))
    spread = means.std(1, ddof=1) / np.sqrt(groups)
    floor = np.sqrt(np.maximum(means.mean(1) * (1 - means.mean(1)), 0.01) / count) / 4
    return Points(
        sizes=np.array(sizes, float),
        accuracy=means.mean(1),
        deviation=np.maximum(spread, floor),
        scored=count,
        truth=np.concatenate([t for t, _ in full]),
        predicted=np.concatenate([p for _, p in full]),
    )
