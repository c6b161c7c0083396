"""The forecast of accuracy with more labels."""

from dataclasses import replace

import numpy as np
import pytest

from gradebook.pipelines.inference import forecast as forecasting
from gradebook.pipelines.inference import learning_points
from gradebook.pipelines.inference.learning_points import Points
from gradebook.storage.project import ProjectError
from tests.pipelines.cli.cli_runner import done, refused
from tests.pipelines.projects import make_project


def quiet(done: int, total: int) -> None:
    """Shows no progress."""


def points(accuracy, *, scored: int) -> Points:
    truth = np.array([0, 0, 0, 1, 1, 2])
    sizes = np.array([50.0, 100, 200, 400])
    return Points(sizes, np.array(accuracy), np.full(4, 0.004), scored, truth, np.array([0, 1, 1, 1, 1, 2]))


def test_a_rising_curve_says_go_on_and_names_the_classes_with_most_mistakes():
    result = forecasting.from_points(
        points([0.5, 0.62, 0.71, 0.78], scored=500), 400, 100, ["a", "b", "c"], scored_on="test split"
    )
    assert not result.stop and [row["name"] for row in result.classes] == ["a", "b"]
    assert result.classes[0]["accuracy"] == pytest.approx(1 / 3, abs=1e-3)
    assert [row.labels for row in result.expected] == [500, 800, 900]
    assert 0.78 < result.expected[-1].accuracy < 0.9
    assert "100 more labels are expected to add" in result.sentence


def test_a_flat_curve_says_stop():
    result = forecasting.from_points(
        points([0.9, 0.9, 0.901, 0.9], scored=200), 400, 20, ["a", "b", "c"], scored_on="test split"
    )
    assert result.stop and result.sentence.startswith("Stop: 20 more labels") and result.classes == []


def test_a_curve_that_still_rises_is_not_stopped_because_a_small_batch_gains_little():
    rising = points([0.78, 0.82, 0.85, 0.875], scored=100)
    result = forecasting.from_points(rising, 400, 5, ["a", "b", "c"], scored_on="test split")
    assert result.expected[0].gain < 1 / 100 and not result.stop
    assert "less than can be measured, but twice the labels, 800, may add" in result.sentence


def test_no_advice_to_stop_while_a_class_has_hardly_any_label():
    flat = points([0.9, 0.9, 0.901, 0.9], scored=200)
    result = forecasting.from_points(flat, 400, 20, ["a", "b", "c"], scored_on="test split", few=["rare"])
    assert not result.stop and result.sentence.endswith("these have fewer: rare.")


def test_the_interval_of_a_cross_validation_is_wider_because_its_parts_share_images():
    rising = points([0.5, 0.62, 0.71, 0.78], scored=400)
    shared = replace(rising, variance_factor=learning_points.CORRELATED)
    given = {"labels": 400, "batch": 20, "names": ["a", "b", "c"], "scored_on": "cross-validation"}
    one, other = (forecasting.from_points(measured, **given) for measured in (rising, shared))
    assert one.accuracy == other.accuracy and one.expected[0].gain_interval == other.expected[0].gain_interval
    assert other.interval[0] < one.interval[0] < one.interval[1] < other.interval[1]


def test_logistic_regression_is_the_same_in_the_span_of_the_labelled_images():
    random = np.random.default_rng(0)
    x, test = random.normal(size=(12, 40)).astype(np.float32), random.normal(size=(30, 40)).astype(np.float32)
    y = np.arange(12) % 3
    inside, outside = learning_points._in_span(x, test)
    assert inside.shape == (12, 12)
    plain = learning_points.fit_and_predict(x, y, test)
    assert (learning_points.fit_and_predict(inside, y, outside) == plain).mean() > 0.95


def test_each_image_is_scored_by_classifiers_that_were_not_fitted_to_it():
    """Labels without any pattern: a model that had seen them would be right."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(80, 100)).astype(np.float32), random.integers(0, 2, 80)
    result = learning_points.cross_validated(x, y, seed=0, progress=quiet)
    assert abs(result.accuracy[-1] - 0.5) < 0.2 and result.scored == 80


def test_the_command_forecasts_and_the_app_reads_it(tmp_path):
    store = make_project(tmp_path, labelled=45)
    project = store.project.root
    assert forecasting.saved_forecast(store.project) is None
    result = done("forecast", project, "--json").json
    assert result["labels"] == 45 and result["scored_on"] == "cross-validation" and len(result["points"]) == 5
    assert result["interval"][0] <= result["accuracy"] <= result["interval"][1]
    saved, is_current = forecasting.saved_forecast(store.project)
    assert saved["accuracy"] == result["accuracy"] and is_current
    assert "45 labels: accuracy" in done("forecast", project, "--batch", 10).out
    assert "must be at least 1" in refused("forecast", project, "--batch", 0)


def test_few_labels_are_refused(tmp_path):
    store = make_project(tmp_path, labelled=6)
    with pytest.raises(ProjectError, match="6 labels are too few"):
        forecasting.forecast(store, progress=quiet)
