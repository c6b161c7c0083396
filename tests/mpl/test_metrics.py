import numpy as np
import pytest

from gradebook.mpl import metrics

# Four samples, three classes; predicted: 0, 1, 1, 2
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.8, 0.0], [0.0, 0.1, 0.9]])
LABELS = np.array([0, 1, 2, 2])


def test_accuracy_is_the_share_of_hits():
    assert metrics.accuracy(PROBABILITIES, LABELS) == 0.75
    assert metrics.accuracy(PROBABILITIES, np.array([1, 1, 1, 0])) == 0.5


def test_confusion_has_a_row_for_each_label_and_a_column_for_each_prediction():
    assert metrics.confusion(PROBABILITIES, LABELS).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert metrics.confusion(PROBABILITIES[:1], LABELS[:1]).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_calibration_error_is_the_mean_gap_of_the_bins():
    """Ten bins of 0.1: 0.6 right (gap +0.4), 0.8 and 0.8 half right (two gaps of -0.3), 0.9 right (gap +0.1).

    (0.4 + |0.2 - 0.8| + 0.1) / 4 = 1.1 / 4
    """
    assert metrics.calibration_error(PROBABILITIES, LABELS, bins=10) == pytest.approx(1.1 / 4)


def test_one_bin_compares_accuracy_with_mean_probability():
    assert metrics.calibration_error(PROBABILITIES, LABELS, bins=1) == pytest.approx(
        abs(0.75 - (0.8 + 0.6 + 0.8 + 0.9) / 4)
    )


def test_calibration_error_of_the_extremes():
    sure = np.eye(3)
    assert metrics.calibration_error(sure, np.array([0, 1, 2])) == 0.0
    assert metrics.calibration_error(sure, np.array([1, 2, 0])) == 1.0, "probability 1 falls into the last bin"


def test_calibration_error_agrees_with_plain_loops():
    random = np.random.default_rng(0)
    probabilities, labels = random.dirichlet(np.ones(4), 200), random.integers(4, size=200)
    total = 0.0
    for k in range(15):
        low, high = k / 15, (k + 1) / 15
        rows = [i for i in range(200) if low <= probabilities[i].max() < high]
        if rows:
            right = np.mean([probabilities[i].argmax() == labels[i] for i in rows])
            total += len(rows) / 200 * abs(right - np.mean([probabilities[i].max() for i in rows]))
    assert metrics.calibration_error(probabilities, labels) == pytest.approx(total)


def test_balanced_accuracy_is_the_mean_over_classes_and_an_unknown_class_counts_as_wrong():
    assert metrics.balanced_accuracy(PROBABILITIES, LABELS) == pytest.approx((1 + 1 + 0.5) / 3)
    assert metrics.balanced_accuracy(PROBABILITIES, np.array([0, 1, 2, 7])) == pytest.approx((1 + 1 + 0 + 0) / 4)


def test_the_interval_of_an_accuracy_is_wilsons():
    """Wilson (1927); 8 of 10 as in Agresti and Coull (1998)."""
    assert metrics.accuracy_interval(0.8, 10) == pytest.approx((0.490, 0.943), abs=1e-3)
    low, high = metrics.accuracy_interval(1.0, 20)
    assert low == pytest.approx(20 / (20 + 1.96**2), abs=1e-6)
    assert high == 1.0


def test_the_interval_of_a_balanced_accuracy_covers_the_truth_95_times_of_100():
    random = np.random.default_rng(0)
    labels, chance = np.repeat([0, 1, 2], [10, 30, 100]), np.array([0.6, 0.8, 0.9])
    covered = 0
    for _ in range(1000):
        right = random.random(len(labels)) < chance[labels]
        probabilities = np.eye(3)[np.where(right, labels, (labels + 1) % 3)]
        low, high = metrics.balanced_accuracy_interval(probabilities, labels)
        covered += low <= chance.mean() <= high
    assert 930 <= covered <= 985


def test_macro_f1_is_that_of_scikit_learn_and_its_interval_covers_the_truth():
    from sklearn.metrics import f1_score

    random = np.random.default_rng(0)
    shares = np.array([[0.5, 0.1, 0.0], [0.05, 0.2, 0.05], [0.0, 0.02, 0.08]])
    truth = metrics.macro_f1((shares * 1e9).astype(np.int64))
    covered = 0
    for _ in range(200):
        matrix = random.multinomial(300, shares.ravel()).reshape(3, 3)
        label, predicted = (axis.ravel().repeat(matrix.ravel()) for axis in np.indices((3, 3)))
        assert metrics.macro_f1(matrix) == pytest.approx(f1_score(label, predicted, average="macro"))
        low, high = metrics.macro_f1_interval(matrix, draws=200)
        covered += low <= truth <= high
    assert 180 <= covered <= 199


def test_a_class_without_labels_has_no_f1():
    assert metrics.macro_f1(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])) == pytest.approx((6 / 7 + 8 / 9) / 2)
