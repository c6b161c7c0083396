"""The accuracies on a run's card."""

import json

import pytest

from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.reporting.run_card import run_card
from gradebook.pipelines.reporting.run_comparison import save_evaluation
from gradebook.pipelines.runs import PREDICTIONS, Run, append_metrics


@pytest.fixture
def runs(tmp_path):
    made = []
    for name in ("one", "two"):
        run = Run(tmp_path / name)
        run.path.mkdir()
        write_status(run.path, status_now(State.FINISHED, pid=0, step=1, steps=1))
        (run.path / PREDICTIONS).touch()
        (run.path / "samples.json").write_text(json.dumps({"validation": list(range(12))}))
        made.append(run)
    return made


def test_a_held_out_accuracy_has_the_number_of_its_labels_and_few_are_weak(runs):
    append_metrics(runs[0].path, {"step": 1, "validation_accuracy": 0.75})
    card = run_card(runs[0])
    assert card.validation.n == 12 and card.validation.is_weak and not card.cross_validated
    low, high = card.validation.interval
    assert low < 0.5 and high > 0.9


def test_a_cross_validated_accuracy_is_over_all_labels(runs):
    append_metrics(runs[0].path, {"step": 1, "validation_accuracy": 0.8, "cross_validated_labels": 200})
    card = run_card(runs[0])
    assert card.cross_validated and card.validation.n == 200 and not card.validation.is_weak


def test_the_change_is_of_test_accuracies_where_both_runs_have_one(runs):
    for run, accuracy in zip(runs, (0.7, 0.8), strict=True):
        append_metrics(run.path, {"step": 1, "validation_accuracy": 0.5, "cross_validated_labels": 100})
        baseline = {"accuracy": 0.72}
        save_evaluation(run, {"on": "test split", "accuracy": accuracy, "n": 400, "ece": 0.1, "baseline": baseline})
    card = run_card(runs[1], runs[:1])
    assert card.baseline == 0.72 and card.test.n == 400
    assert (card.change.since, card.change.on) == ("one", "test images")
    assert card.change.difference == pytest.approx(0.1)
    assert 0.03 < card.change.interval[0] < 0.1 < card.change.interval[1] < 0.17


def test_a_run_without_numbers_has_an_empty_card(runs):
    card = run_card(runs[1], runs[:1])
    assert card.validation is card.test is card.change is card.baseline is None
