"""The second reader against a reference and against planted mistakes; neighbours against brute force."""

import numpy as np
import pytest

from gradebook.mpl import approximate_neighbours, gaussian_classifier
from gradebook.mpl.gaussian_classifier import fit_predict, nearest, principal_components

K, D = 3, 6


def blobs(n: int = 300, spread: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns samples around three centres, (n, D) float32, and which centre each belongs to."""
    random = np.random.default_rng(seed)
    truth = np.arange(n) % K
    centres = 3 * np.eye(K, D)
    return (centres[truth] + spread * random.normal(size=(n, D))).astype(np.float32), truth


def test_the_classifier_is_linear_discriminant_analysis(monkeypatch):
    """scikit-learn's, with the same shrinkage, on labels without doubt and odds that are not softened."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    monkeypatch.setattr(gaussian_classifier, "SOFTEN", 1.0)
    monkeypatch.setattr(gaussian_classifier, "FITS", 1)
    x, truth = blobs()
    labels = np.where(np.random.default_rng(1).random(len(truth)) < 0.2, (truth + 1) % K, truth)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=gaussian_classifier.SHRINKAGE)
    # It shrinks the mean of the classes' covariances, weighted by size, and so do we.
    expected = reference.fit(x.astype(np.float64), labels).predict_proba(x)
    np.testing.assert_allclose(fit_predict(x, np.eye(K)[labels])[0], expected, atol=1e-3)


def test_softened_odds_keep_their_order(monkeypatch):
    x, truth = blobs()
    soft, _ = fit_predict(x, np.eye(K)[truth])
    monkeypatch.setattr(gaussian_classifier, "SOFTEN", 1.0)
    hard, _ = fit_predict(x, np.eye(K)[truth])
    assert (soft.argmax(1) == hard.argmax(1)).all()
    assert soft.max(1).mean() < hard.max(1).mean() - 0.02
    np.testing.assert_allclose(soft.sum(1), 1)


def test_it_corrects_errors_in_the_labels_it_was_fitted_to():
    x, truth = blobs()
    random = np.random.default_rng(2)
    wrong = random.random(len(truth)) < 0.25
    opinions = np.eye(K)[np.where(wrong, random.integers(K, size=len(truth)), truth)]
    guess = opinions.argmax(1)
    doubt = 1 - fit_predict(x, opinions)[0][np.arange(len(truth)), guess]
    assert doubt[guess != truth].min() > np.quantile(doubt[guess == truth], 0.7)


def test_a_further_fit_uses_the_mean_of_input_and_output_probabilities(monkeypatch):
    x, truth = blobs(spread=1.5)
    random = np.random.default_rng(2)
    opinions = np.eye(K)[np.where(random.random(len(truth)) < 0.3, random.integers(K, size=len(truth)), truth)]
    thrice, _ = fit_predict(x, opinions)
    monkeypatch.setattr(gaussian_classifier, "FITS", 1)
    fitted = once = fit_predict(x, opinions)[0]
    for _ in range(2):
        fitted, _ = fit_predict(x, (opinions + fitted) / 2)
    np.testing.assert_allclose(thrice, fitted, atol=1e-9)
    assert np.abs(thrice - once).max() > 0.01


def test_in_the_classifiers_metric_classes_have_unit_covariance(monkeypatch):
    monkeypatch.setattr(gaussian_classifier, "FITS", 1)
    monkeypatch.setattr(gaussian_classifier, "SHRINKAGE", 0.0)
    x, truth = blobs(n=600)
    x = x * np.array([9, 1, 0.1, 3, 5, 1], np.float32)
    _, measured = fit_predict(x, np.eye(K)[truth])
    inside = measured - np.stack([measured[truth == k].mean(0) for k in range(K)])[truth]
    np.testing.assert_allclose(inside.T @ inside / len(x), np.eye(D), atol=1e-3)


def test_rows_without_probabilities_change_nothing_and_are_predicted():
    x, truth = blobs()
    opinions = np.eye(K)[truth].astype(float)
    opinions[::4] = np.nan
    alone, _ = fit_predict(x[np.arange(len(x)) % 4 > 0], opinions[np.arange(len(x)) % 4 > 0])
    found, _ = fit_predict(x, opinions)
    np.testing.assert_allclose(found[np.arange(len(x)) % 4 > 0], alone, atol=1e-9)
    assert (found[::4].argmax(1) == truth[::4]).mean() > 0.9


def test_a_label_counts_as_several_predictions_of_the_same_image(monkeypatch):
    monkeypatch.setattr(gaussian_classifier, "FITS", 1)
    x, truth = blobs(n=60)
    opinions, labels = np.full((60, K), np.nan), np.full(60, -1)
    opinions[5:] = np.eye(K)[truth[5:]]
    labels[:5] = truth[:5]
    found, _ = fit_predict(x, opinions, labels)
    repeated = np.concatenate([np.repeat(x[:5], int(gaussian_classifier.LABEL_WEIGHT), axis=0), x[5:]])
    probabilities = np.concatenate(
        [np.repeat(np.eye(K)[truth[:5]], int(gaussian_classifier.LABEL_WEIGHT), axis=0), opinions[5:]]
    )
    np.testing.assert_allclose(found[5:], fit_predict(repeated, probabilities)[0][-55:], atol=1e-9)
    assert np.abs(found - fit_predict(x, opinions)[0]).max() > 1e-3


def test_a_class_without_predictions_gets_no_probability():
    x, truth = blobs()
    found, _ = fit_predict(x, np.eye(K + 1)[truth])
    assert found.shape == (300, 4) and (found[:, 3] == 0).all()
    assert np.isnan(fit_predict(x, np.full((300, K), np.nan))[0]).all()


def test_the_space_preserves_distances_if_it_has_all_directions():
    views = np.random.default_rng(0).normal(size=(100, 3, 5)).astype(np.float16)
    space = principal_components(views)
    means = views.astype(np.float32).mean(1)
    assert space.shape == (100, 5)
    np.testing.assert_allclose(space @ space.T, (c := means - means.mean(0)) @ c.T, atol=1e-3)


def test_the_space_has_the_largest_directions(monkeypatch):
    monkeypatch.setattr(gaussian_classifier, "MAX_COMPONENTS", 1)
    views = np.random.default_rng(0).normal(size=(100, 1, 3)) * [0.1, 5.0, 0.1]
    space = principal_components(views.astype(np.float16))
    assert abs(np.corrcoef(space[:, 0], views[:, 0, 1])[0, 1]) > 0.999


@pytest.mark.parametrize("block", [7, 1024])
def test_neighbours_are_those_of_brute_force(monkeypatch, block):
    monkeypatch.setattr(gaussian_classifier, "BLOCK_ROWS", block)
    space = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    places, similar = nearest(space, 3)
    unit = space / np.linalg.norm(space, axis=1, keepdims=True)
    for k in range(40):
        others = sorted((-float(unit[k] @ unit[j]), j) for j in range(40) if j != k)[:3]
        assert places[k].tolist() == [j for _, j in others]
        np.testing.assert_allclose(similar[k], [-s for s, _ in others], atol=1e-6)


def test_few_samples_have_few_neighbours():
    assert nearest(np.ones((3, 2), np.float32), 20)[0].tolist() == [[1, 2], [0, 2], [0, 1]]
    assert nearest(np.ones((1, 2), np.float32), 20)[0].shape == (1, 0)


def test_among_very_many_samples_almost_all_neighbours_are_found(monkeypatch):
    """Samples in groups; one group of copies, and one sample far from all, which has its k neighbours too."""
    random = np.random.default_rng(0)
    space = random.normal(size=(60, 16))[random.integers(0, 60, 3000)] + 0.5 * random.normal(size=(3000, 16))
    space[:30] = space[0]
    space[30] = -10 * space[31:].mean(0)
    exact, similar = nearest(space.astype(np.float32), 10)
    monkeypatch.setattr(gaussian_classifier, "MAX_EXACT", 100)
    monkeypatch.setattr(approximate_neighbours, "CELL_SIZE", 50)
    found, near = nearest(space.astype(np.float32), 10)
    assert found.shape == near.shape == (3000, 10)
    assert (found != np.arange(3000)[:, None]).all() and all(len(set(row)) == 10 for row in found.tolist())
    assert (np.diff(near, axis=1) <= 1e-6).all()
    hits = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact[31:].tolist(), found[31:].tolist(), strict=True)])
    assert hits > 0.95
    np.testing.assert_allclose(near[:30], similar[:30], atol=1e-5)
    monkeypatch.setattr(approximate_neighbours, "PROBES", 1)
    worse, _ = nearest(space.astype(np.float32), 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact.tolist(), worse.tolist(), strict=True)]) < hits
