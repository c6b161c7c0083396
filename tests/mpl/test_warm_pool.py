"""The pooled classifier fitted warm equals one that is fitted from scratch."""

import numpy as np
import pytest

from gradebook.mpl import warm_pool
from gradebook.mpl.feature_spaces import AugmentedViews
from gradebook.mpl.pooled_classifier import FIXED_SHARE, fit_pooled_classifier
from gradebook.mpl.warm_pool import WarmPool

N, V, D, K = 90, 3, 12, 3
NONE = np.empty(0, np.int64)


@pytest.fixture(scope="module")
def problem():
    """Features around a centre for each class, their views, and the classes."""
    random = np.random.default_rng(0)
    y = np.arange(N) % K
    features = random.normal(size=(K, D))[y] * 2 + random.normal(size=(N, D))
    views = features[:, None] + random.normal(scale=0.3, size=(N, V, D))
    return features.astype(np.float32), views.astype(np.float32), y


def labels_of(y, count):
    return np.where(np.arange(N) < count, y, -1)


def warm(problem):
    features, views, _ = problem
    return WarmPool(features, np.arange(N), lambda rows: views[rows])


def test_a_warm_fit_after_more_labels_equals_a_fit_from_scratch(problem):
    features, views, y = problem
    pool = warm(problem)
    pool.fit(labels_of(y, 9), K, excluded=NONE, fixed={})
    fitted = pool.fit(labels_of(y, 15), K, excluded=NONE, fixed={})
    fresh = fit_pooled_classifier(features, labels_of(y, 15), K, views=AugmentedViews(views, np.arange(N)))
    np.testing.assert_allclose(fitted.probabilities, fresh.probabilities, atol=1e-4)
    assert fitted.members == fresh.members
    assert fitted.held_out_accuracy == fresh.held_out_accuracy


def test_a_withdrawn_label_leaves_no_trace(problem):
    _, _, y = problem
    pool = warm(problem)
    wrong = labels_of(y, 12)
    wrong[50] = (y[50] + 1) % K
    pool.fit(wrong, K, excluded=NONE, fixed={})
    again = pool.fit(labels_of(y, 12), K, excluded=NONE, fixed={})
    fresh = warm(problem).fit(labels_of(y, 12), K, excluded=NONE, fixed={})
    np.testing.assert_array_equal(again.probabilities, fresh.probabilities)


def test_many_labels_give_the_same_classifier_in_bounded_memory(problem, monkeypatch):
    _, _, y = problem
    pool = warm(problem)
    few = pool.fit(labels_of(y, 15), K, excluded=NONE, fixed={})
    monkeypatch.setattr(warm_pool, "MAX_BYTES", 14 * N * 4)
    many = pool.fit(labels_of(y, 15), K, excluded=NONE, fixed={})
    np.testing.assert_allclose(many.probabilities, few.probabilities, atol=1e-4)
    assert many.held_out_accuracy == few.held_out_accuracy
    assert not any(diffusion._columns for diffusion in pool._diffusions)


def test_nothing_is_learned_from_excluded_rows(problem):
    _, _, y = problem
    fitted = warm(problem).fit(labels_of(y, 12), K, excluded=np.array([60, 61]), fixed={})
    assert fitted.probabilities.shape == (N - 2, K)
    assert (fitted.probabilities.argmax(1) == np.delete(y, [60, 61])).mean() > 0.9


def test_a_fixed_member_has_its_share_of_the_exponents_and_counts(problem):
    _, _, y = problem
    turned = np.eye(K, dtype=np.float32)[(y + 1) % K]
    pool = warm(problem)
    without = pool.fit(labels_of(y, 12), K, excluded=NONE, fixed={})
    fitted = pool.fit(labels_of(y, 12), K, excluded=NONE, fixed={"student": turned})
    assert fitted.members == (*without.members, "student")
    assert sum(fitted.exponents) == pytest.approx(sum(without.exponents))
    assert fitted.exponents[-1] == pytest.approx(FIXED_SHARE * sum(without.exponents))
    assert fitted.held_out_accuracy == without.held_out_accuracy
    toward = (np.log(fitted.probabilities) - np.log(without.probabilities))[turned == 1]
    assert toward.mean() > 0
