"""A linear classifier fitted to pooled opinions; each of its parts against something that cannot share its faults."""

import numpy as np
import pytest

from gradebook.mpl.feature_spaces import AugmentedViews, feature_spaces
from gradebook.mpl.label_diffusion import ALPHA, diffused_probabilities, influence, neighbour_graph
from gradebook.mpl.opinion_pool import (
    EXPONENT_HOLD,
    aligned,
    class_shares,
    fitted_temperature,
    pool_exponents,
    pooled,
    softmax,
)
from gradebook.mpl.pooled_classifier import fit_pooled_classifier, logistic_regression

K, D, LABELS = 4, 24, 3


def blobs(sizes: list[int], *, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns features (N, D), the truth (N,), and labels (N,) of the first LABELS samples of each class."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = rng.normal(size=(len(sizes), D)) * 0.9
    features = centres[truth] + spread * rng.normal(size=(len(truth), D))
    labels = np.full(len(truth), -1)
    for label in range(len(sizes)):
        rows = np.flatnonzero(truth == label)[:LABELS]
        labels[rows] = label
    return features.astype(np.float32), truth, labels


def accuracy(probabilities: np.ndarray, truth: np.ndarray) -> float:
    return float((probabilities.argmax(1) == truth).mean())


def test_logistic_regression_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    x, _, labels = blobs([40] * K)
    rows = np.flatnonzero(labels >= 0)
    weights, bias = logistic_regression(x[rows], labels[rows], K)
    theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(x[rows], labels[rows])
    ours = softmax(x @ weights + bias)
    np.testing.assert_allclose(ours, theirs.predict_proba(x), rtol=0, atol=2e-3)
    assert np.ptp(ours) > 0.9, "the opinions differ: the test is not vacuous"


def test_a_class_without_a_label_gets_next_to_no_probability():
    x, _, labels = blobs([40] * K)
    labels[labels == 2] = -1
    rows = np.flatnonzero(labels >= 0)
    weights, bias = logistic_regression(x[rows], labels[rows], K)
    assert softmax(x @ weights + bias)[rows, 2].max() < 0.1


def test_the_series_of_the_diffusion_is_the_solution_of_its_equation():
    x, _, labels = blobs([30] * K)
    labelled = np.flatnonzero(labels >= 0)
    graph = neighbour_graph(x, 8)
    start = np.zeros((len(x), len(labelled)))
    start[labelled, np.arange(len(labelled))] = 1
    exact = np.linalg.solve(np.eye(len(x)) - ALPHA * graph.toarray().astype(np.float64), start)
    np.testing.assert_allclose(influence(graph, labelled), exact, rtol=0, atol=0.02)


def test_diffusion_counts_a_class_with_many_labels_as_one_with_few():
    reached = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(diffused_probabilities(reached, np.array([0, 0, 0, 1]), 2), [[0.5, 0.5]], atol=1e-6)


def test_the_exponents_minimise_what_they_say_and_distrust_a_member_that_guesses():
    rng = np.random.default_rng(0)
    y = rng.integers(0, K, 200)
    good = softmax(3 * np.eye(K)[y] + rng.normal(size=(200, K)))
    noise = softmax(rng.normal(size=(200, K)) * 3)
    held_out = np.stack([good, noise])
    best = pool_exponents(held_out, y)
    assert best[0] > 0.7 > 0.3 > best[1] >= 0

    def loss(w: np.ndarray) -> float:
        return float(-np.log(pooled(held_out, w)[np.arange(200), y]).sum() + EXPONENT_HOLD * np.square(w - 0.8).sum())

    for step in ([0.02, 0], [-0.02, 0], [0, 0.02]):
        assert loss(best + step) > loss(best)


def test_class_shares_are_estimated_from_calibrated_predictions():
    """Labels are drawn evenly, the samples are not: EM finds the samples' shares, pulled a little to the labels'."""
    rng = np.random.default_rng(0)
    even, shares = np.full(3, 1 / 3), np.array([0.7, 0.2, 0.1])
    truth = rng.choice(3, 20_000, p=shares)
    x = 2.5 * np.eye(3)[truth] + rng.normal(size=(20_000, 3))  # with even classes, p(c | x) = softmax(2.5 x)
    found = class_shares(softmax(2.5 * x), even)
    prior = 0.3 / 1.3
    np.testing.assert_allclose(found, (shares - even * prior) / (1 - prior) * (1 - prior) + even * prior, atol=0.15)
    assert found[0] > 0.5
    np.testing.assert_allclose(found.sum(), 1)


def test_predictions_are_aligned_to_balanced_shares_and_unchanged_where_shares_differ():
    rng = np.random.default_rng(0)
    opinions = softmax(rng.normal(size=(500, 3)) + np.eye(3)[0])
    everyone, even = np.ones(500, bool), np.full(3, 1 / 3)
    np.testing.assert_allclose(aligned(opinions, everyone, even, even).mean(0), even, atol=0.01)
    assert opinions.mean(0)[0] > 0.45, "they were not balanced before"
    assert np.array_equal(aligned(opinions, everyone, even, np.array([0.7, 0.2, 0.1])), opinions)


def test_the_temperature_of_logits_that_are_three_times_too_large_is_three():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, K))
    y = (softmax(logits).cumsum(1) < rng.random((20_000, 1))).sum(1)  # drawn from these distributions
    assert fitted_temperature(3 * logits, y, np.ones(20_000)) == pytest.approx(3, rel=0.05)


def test_a_few_labels_that_are_confidently_wrong_hardly_change_the_temperature():
    rng = np.random.default_rng(0)
    logits = 4 * rng.normal(size=(240, 4))
    y = logits.argmax(1)
    before = fitted_temperature(logits, y, np.ones(240))
    logits[:12] = 12 * np.eye(4)[(y[:12] + 1) % 4]
    assert fitted_temperature(logits, y, np.ones(240)) == pytest.approx(before, rel=0.1)


def test_the_spaces_have_unit_length_and_whitening_makes_augmentation_round():
    x, _, labels = blobs([60] * K)
    labelled = np.flatnonzero(labels >= 0)
    rng = np.random.default_rng(1)
    scale = np.linspace(0.1, 2, D)
    views = (x[:, None] + rng.normal(size=(len(x), 4, D)) * scale).astype(np.float32)
    spaces = feature_spaces(x, labelled, AugmentedViews(views, np.arange(len(x))))
    for space in (spaces.plain, spaces.standardised, spaces.whitened):
        np.testing.assert_allclose(np.square(space).sum(1).mean(), 1, rtol=1e-3)
    np.testing.assert_allclose(spaces.plain, (x - spaces.mean) @ spaces.basis, atol=1e-5)
    assert spaces.labelled_views.shape == (len(labelled), 4, spaces.plain.shape[1])
    noise = (spaces.labelled_views - spaces.whitened[labelled][:, None]).reshape(-1, D)
    before = ((views[labelled] - x[labelled][:, None]) @ spaces.basis).reshape(-1, D)
    assert np.linalg.cond(noise.T @ noise) < 0.2 * np.linalg.cond(before.T @ before)


@pytest.mark.parametrize("with_views", [False, True])
def test_it_is_linear_repeats_and_is_more_accurate_than_logistic_regression_alone(with_views):
    x, truth, labels = blobs([150] * K, spread=1.3)
    views = None
    if with_views:
        noise = 0.3 * np.random.default_rng(2).normal(size=(len(x), 3, D)).astype(np.float32)
        views = AugmentedViews(x[:, None] + noise, np.arange(len(x)))
    fitted = fit_pooled_classifier(x, labels, K, views=views)
    np.testing.assert_allclose(softmax(x @ fitted.weight.T + fitted.bias), fitted.probabilities, atol=1e-4)
    again = fit_pooled_classifier(x, labels, K, views=views)
    assert np.array_equal(again.weight, fitted.weight) and again == again
    rows = np.flatnonzero(labels >= 0)
    weights, bias = logistic_regression(x[rows], labels[rows], K)
    assert accuracy(fitted.probabilities, truth) > accuracy(x @ weights + bias, truth) + 0.03
    assert len(fitted.members) == len(fitted.exponents) == (4 if with_views else 2)
    assert len(fitted.held_out_accuracy) == len(fitted.members) + 1
    assert all(0 <= error <= 1 for error in fitted.held_out_ece)


def test_it_learns_that_most_samples_are_of_one_class_though_labels_are_drawn_evenly():
    x, _, labels = blobs([400, 40, 40, 40], spread=1.6)
    fitted = fit_pooled_classifier(x, labels, K)
    assert np.argmax(fitted.class_shares) == 0
    assert fitted.class_shares[0] > 0.4
    predicted = np.bincount(fitted.probabilities.argmax(1)) / len(x)
    assert predicted[0] > 0.55, "a quarter of the labels, three quarters of the samples"


def test_a_given_member_predicts_once_a_fold_and_is_weighted_by_its_accuracy():
    x, truth, labels = blobs([60] * K, spread=1.6)
    asked = []

    def oracle(kept: np.ndarray, y: np.ndarray, classes: int) -> np.ndarray:
        asked.append(kept.sum(1).tolist())
        return np.repeat([np.eye(classes)[truth] * 0.9 + 0.1 / classes], len(kept), 0)

    def guesser(kept: np.ndarray, y: np.ndarray, classes: int) -> np.ndarray:
        return softmax(np.random.default_rng(3).normal(size=(len(kept), len(truth), classes)) * 4)

    fitted = fit_pooled_classifier(x, labels, K, members={"oracle": oracle, "guesser": guesser})
    assert [sorted(counts) for counts in asked] == [[9, 9, 10, 10, 10], [12]]
    weight = dict(zip(fitted.members, fitted.exponents, strict=True))
    assert weight["oracle"] > 2 * weight["guesser"]


def test_two_labels_are_enough():
    x, _, labels = blobs([30, 30])
    labels[np.flatnonzero(labels == 0)[1:]] = -1
    labels[np.flatnonzero(labels == 1)[1:]] = -1
    fitted = fit_pooled_classifier(x, labels, 2)
    assert np.isfinite(fitted.weight).all() and np.isfinite(fitted.probabilities).all()
