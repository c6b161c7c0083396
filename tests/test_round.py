"""One round on real images, as a new user runs it: the README's demo, then the steps it suggests next."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.cli.cli_runner import done

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    command = [
        sys.executable,
        "-m",
        "gradebook.pipelines.cli.main",
        "demo",
        tmp_path_factory.mktemp("round") / "demo",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_method_learns_something(demo):
    assert set(demo["accuracy"]) == {"supervised", "uda", "mpl"}
    assert all(accuracy > 0.5 for accuracy in demo["accuracy"].values()), "ten classes: chance is 0.1"


def test_the_queue_has_no_labelled_samples(demo):
    queue = done("queue", demo["project"], "--json", "--limit", 2000, "--no-spread").json
    assert len(queue) == 1197 - demo["labels"]
    assert {row["sample_id"] for row in demo["queue"]} <= {row["sample_id"] for row in queue}
    assert all(0 <= score <= 1 for row in queue for score in row["reasons"].values())


def test_a_verdict_leaves_the_queue_and_reaches_the_next_training(demo):
    first = demo["queue"][0]
    done("label", demo["project"], "--sample", first["sample_id"], "--label", "3")
    queue = done("queue", demo["project"], "--json", "--limit", 2000).json
    assert first["sample_id"] not in [row["sample_id"] for row in queue]
    done("train", demo["project"], "--steps", 5, "--run", "again", "--method", "supervised")
    labels = json.loads(Path(demo["project"], "runs", "again", "labels.json").read_text("utf-8"))
    assert labels[first["sample_id"]] == "3"
    assert len(labels) == demo["labels"] + 1


def test_the_record_has_the_feedback_of_every_step_that_saw_the_image(demo):
    rows = done("record", demo["project"], demo["queue"][0]["sample_id"], "--run", "mpl", "--json").json
    assert len(rows) > 20
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps)
    assert len(set(steps)) > 20, "a step may hold an image twice, where one pass ends and the next begins"
    assert all(row["feedback"] is not None and row["best_gain"] >= 0 for row in rows)
    assert any(row["feedback"] != 0 for row in rows)


def test_the_exported_classifier_predicts_as_the_student(demo):
    tested = f"{demo['project']}/../images/test"
    predictions = done("predict", demo["exported"], tested, "--json").json
    right = sum(row["label"] == row["filepath"].split("/")[-2] for row in predictions)
    evaluation = done("evaluate", demo["project"], "--run", "mpl", "--json").json
    assert len(predictions) == evaluation["n"] == demo["test_images"]
    assert right / len(predictions) == pytest.approx(evaluation["accuracy"], abs=0.002)
    assert evaluation["accuracy"] == demo["accuracy"]["mpl"]
