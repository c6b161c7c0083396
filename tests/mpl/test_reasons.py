"""Each reason on two obvious samples: the first has nothing odd about it, the second is to be looked at first."""

from dataclasses import replace

import numpy as np
import pytest

from gradebook.mpl import reasons
from gradebook.mpl.reasons import REASONS, Evidence

NAN = np.nan


def evidence(**other) -> Evidence:
    """Two samples, three classes, ten records each."""
    calm_and_odd = Evidence(
        student=np.array([[1.0, 0.0, 0.0], [0.4, 0.4, 0.2]]),
        teacher=np.array([[1.0, 0.0, 0.0], [0.0, 0.1, 0.9]]),
        mean_probability=np.array([1.0, 0.2]),
        flips=np.array([0.0, 9.0]),
        steps=np.array([10.0, 10.0]),
        agreement=np.array([1.0, 0.0]),
        mean_feedback=np.array([0.001, -0.002]),
        teacher_label=np.array([0, 2]),
        best_label=np.array([0, 1]),
        mean_best_gain=np.array([0.5, 0.003]),
        settled=np.array([0.0, 1.0]),
        label=np.array([0, 0]),
        given=np.array([False, False]),
        classifier=np.array([[1.0, 0.0, 0.0], [0.1, 0.9, 0.0]]),
        neighbour_mean=np.array([[1.0, 0.0, 0.0], [0.3, 0.0, 0.7]]),
        similarity=np.array([0.9, -0.5]),
        unlike=np.array([0.1, 0.7]),
        duplicate_label=np.array([0, 1]),
    )
    return replace(calm_and_odd, **other)


@pytest.mark.parametrize(
    ("name", "calm", "odd"),
    [
        ("unsure", 0.0, 0.8),
        ("disagreement", 0.0, 1.0),
        ("flips", 0.0, 1.0),  # nine changes between ten records
        ("thin_margin", 0.0, 1.0),
        ("entropy", 0.0, -(0.8 * np.log(0.4) + 0.2 * np.log(0.2)) / np.log(3)),
        ("at_odds", 0.0, (0.4 + 0.3 + 0.7) / 2),
        ("harmful_feedback", 0.0, 1.0),
        ("prefers_another", 0.0, 1.0),  # the first one's best class is the teacher's own: no gain counts
        ("feature_classifier", 0.0, 0.9),
        ("neighbours_disagree", 0.0, 0.7),
        ("late", 0.0, 1.0),
        ("outlier", 0.0, 1.0),
        ("unlike_any_class", 0.0, 1.0),
        ("twin_differs", 0.0, 1.0),
    ],
)
def test_each_reason_finds_the_unusual_sample(name, calm, odd):
    assert reasons.score(evidence())[name] == pytest.approx([calm, odd], abs=1e-9)


def test_every_reason_is_tested_and_has_a_description():
    assert len(REASONS) == 15  # the fourteen above and `mislabelled`
    assert all(reason.sentence and reason.sentence[0].islower() for reason in REASONS.values())


def test_scores_stay_in_their_range_on_any_input():
    random = np.random.default_rng(0)
    n = 500
    found = reasons.score(
        Evidence(
            student=random.dirichlet(np.full(5, 0.1), n).astype(np.float32).astype(float),
            teacher=random.dirichlet(np.full(5, 0.1), n),
            mean_probability=random.random(n),
            flips=random.integers(5, size=n).astype(float),
            steps=random.integers(5, 9, size=n).astype(float),
            agreement=random.random(n),
            mean_feedback=random.standard_cauchy(n),
            teacher_label=random.integers(5, size=n),
            best_label=random.integers(5, size=n),
            mean_best_gain=np.abs(random.standard_cauchy(n)),
            settled=random.random(n),
            label=random.integers(5, size=n),
            given=np.full(n, False),
            classifier=random.dirichlet(np.full(5, 0.1), n),
            neighbour_mean=random.dirichlet(np.full(5, 0.1), n),
            similarity=random.random(n),
            unlike=random.random(n),
            duplicate_label=random.integers(5, size=n),
        )
    )
    assert np.isnan(found.pop("mislabelled")).all()
    for name, column in found.items():
        assert column.shape == (n,)
        assert column.min() >= 0 and column.max() <= 1 and column.max() > column.min(), name


def test_a_reason_without_evidence_has_no_score():
    """A run without a teacher, a sample that was never drawn, and a class that the run did not know."""
    unknown = np.array([NAN, NAN])
    found = reasons.score(
        evidence(
            teacher=np.full((2, 3), NAN),
            mean_probability=unknown,
            flips=unknown,
            agreement=unknown,
            mean_feedback=unknown,
            teacher_label=np.array([-1, -1]),
            best_label=np.array([-1, -1]),
            mean_best_gain=unknown,
            settled=unknown,
            classifier=np.full((2, 3), NAN),
            neighbour_mean=np.full((2, 3), NAN),
            similarity=unknown,
            unlike=unknown,
            duplicate_label=np.array([-1, -1]),
        )
    )
    silent = {name for name, column in found.items() if np.isnan(column).all()}
    assert silent == set(REASONS) - {"thin_margin", "entropy"}
    assert not any(np.isnan(found[name]).any() for name in ("thin_margin", "entropy"))


def test_missing_evidence_of_one_sample_does_not_affect_another():
    found = reasons.score(
        evidence(
            mean_probability=np.array([NAN, 0.2]),
            mean_feedback=np.array([NAN, -0.002]),
            mean_best_gain=np.array([NAN, 0.003]),
            best_label=np.array([-1, 1]),
            flips=np.array([NAN, 9.0]),
            steps=np.array([NAN, 10.0]),
        )
    )
    for name in ("unsure", "harmful_feedback", "prefers_another", "flips"):
        assert np.isnan(found[name][0]), name
        assert found[name][1] == pytest.approx(0.8 if name == "unsure" else 1.0)


def test_flips_of_a_sample_seen_once_are_none():
    assert reasons.flips(evidence(steps=np.array([1.0, 2.0]), flips=np.array([0.0, 1.0]))).tolist() == [0.0, 1.0]


def test_feedback_is_scaled_by_the_largest_twentieth_of_those_above_zero():
    harm = np.concatenate([np.full(100, 0.5), -np.linspace(0.0, 1.0, 101)])
    scaled = reasons.harmful_feedback(evidence(mean_feedback=harm))
    top = np.quantile(np.linspace(0.01, 1, 100), 0.95)
    assert scaled[:100].tolist() == [0.0] * 100
    assert scaled[150] == pytest.approx(0.5 / top)
    assert (scaled == 1.0).sum() == 5
    assert reasons.harmful_feedback(evidence(mean_feedback=np.array([0.0, 1.0]))).tolist() == [0.0, 0.0]


def test_a_score_out_of_range_raises():
    with pytest.raises(ValueError, match=r"reason unsure is out of \[0, 1\]"):
        reasons.score(evidence(mean_probability=np.array([1.5, 0.2])))


def test_given_labels_and_predictions_have_their_own_reasons():
    found = reasons.score(evidence(given=np.array([False, True])))
    assert np.isnan(found["mislabelled"][0]) and np.isnan(found["feature_classifier"][1])
    assert (found["feature_classifier"][0], found["mislabelled"][1]) == pytest.approx((0.0, 0.9))
    assert found["neighbours_disagree"][1] == pytest.approx(0.7)


def test_a_label_that_the_run_does_not_know_has_no_score():
    found = reasons.score(evidence(label=np.array([-1, 0]), given=np.array([True, True])))
    for name in ("mislabelled", "neighbours_disagree", "twin_differs"):
        assert np.isnan(found[name][0]) and found[name][1] > 0, name


def test_at_least_half_of_all_samples_are_no_outliers():
    similarity = np.linspace(0, 1, 101)
    found = reasons.outlier(evidence(similarity=similarity))
    assert (found[50:] == 0).all() and (found[:3] == 1).all()
    assert (np.diff(found[2:51]) < 0).all()


def test_uncertainty_is_the_mean_of_its_reasons():
    columns = {"feature_classifier": np.array([0.4, 0.0]), "neighbours_disagree": np.array([0.2, 1.0])}
    inward = {"unsure": np.array([1.0, NAN]), "entropy": np.array([1.0, NAN])}
    assert reasons.doubt(columns | inward).tolist() == pytest.approx([0.3, 0.5])


def test_without_vectors_uncertainty_is_the_mean_of_student_and_teacher():
    nothing = np.full(3, NAN)
    inward = {"unsure": np.array([0.4, NAN, NAN]), "entropy": np.array([0.2, 0.6, NAN])}
    found = reasons.doubt({"feature_classifier": nothing, "neighbours_disagree": nothing} | inward)
    assert found.tolist() == pytest.approx([0.3, 0.6, -1.0])
