"""The progress of background jobs on the pages."""

import json
import sys
import time

import pytest

from gradebook.app import dataframes
from gradebook.pipelines.jobs import commands, launcher
from gradebook.pipelines.process.errors import INTERRUPTED
from gradebook.pipelines.process.job_files import JOB, PROGRESS, Progress, read_progress
from gradebook.pipelines.process.progress import progress, stage
from gradebook.pipelines.process.run_status import State, status_now, write_status
from tests.app.conftest import a_run
from tests.app.test_export import draw_export
from tests.app.test_views import draw_train, drawn

BUSY = """
import time
from pathlib import Path
from gradebook.pipelines.process.errors import stop_immediately

draft = Path("draft")
draft.mkdir()
with stop_immediately(draft.rmdir):
    print("busy", flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
"""


def running_tasks(page) -> list[str]:
    """Returns the tasks that are shown without a progress bar."""
    return [status.label.replace("\\", "") for status in page.status]


def test_a_job_shows_its_task_until_its_length_is_known(context, sleeping):
    page = drawn(draw_export, context)
    page.button(key="export").click().run()
    assert running_tasks(page) == ["Starting"] and not page.get("progress")
    for progress_file, shown in (
        ({"what": "Opening <the> project", "done": 0, "total": 0}, "Opening <the> project"),
        ({"what": "Putting it together", "done": 0, "total": 5}, "Putting it together (1 of 5)"),
        ({"what": "import", "done": 0, "total": 90}, "Reading images: 0 of 90"),
    ):
        (sleeping[0].path / PROGRESS).write_text(json.dumps(progress_file))
        page.run()
        assert running_tasks(page) == [shown] and not page.get("progress")
    (sleeping[0].path / PROGRESS).write_text(json.dumps({"what": "Writing ONNX", "done": 2, "total": 5}))
    page.run()
    assert page.get("progress")[0].proto.value == 40 and not running_tasks(page)


def test_a_run_shows_its_task_before_the_first_step_and_after_the_last(context, monkeypatch):
    monkeypatch.setattr(launcher, "_launch", lambda: [sys.executable, "-c", "import time; time.sleep(60)"])
    run = launcher.start_training(context.store.project, preset="quick", method="mpl", steps=9)
    job = launcher.find_job(run)
    try:
        assert running_tasks(drawn(draw_train, context)) == ["Starting"]
        monkeypatch.setenv(JOB, str(run.path))
        stage("Making the networks")
        assert running_tasks(drawn(draw_train, context)) == ["Making the networks"]
        write_status(run.path, status_now(State.RUNNING, pid=job.pid, step=0, steps=9))
        with progress("train mpl-001", 9) as show:
            show(3)
        page = drawn(draw_train, context)
        assert page.get("progress")[0].proto.text == "step 3 of 9", "the job tells more often than the run"
        stage("Writing down what it has learned")
        assert running_tasks(drawn(draw_train, context)) == ["Writing down what it has learned"]
    finally:
        launcher.stop(job, timeout=0)


def test_a_resumed_training_clears_its_earlier_progress(context, monkeypatch):
    monkeypatch.setattr(launcher, "_launch", lambda: [sys.executable, "-c", ""])
    run = a_run(context.store, "mpl-002", State.STOPPED)
    (run.path / "checkpoints" / "step-1").mkdir(parents=True)
    (run.path / PROGRESS).write_text(json.dumps({"what": "train mpl-002", "done": 20, "total": 20}))
    job = launcher.find_job(launcher.resume_training(context.store.project, run))
    assert commands.progress(job) is None
    launcher.stop(job, timeout=5)


def test_only_a_job_reports_its_stage(monkeypatch, tmp_path):
    monkeypatch.delenv(JOB, raising=False)
    stage("Opening the project")
    monkeypatch.setenv(JOB, str(tmp_path))
    assert read_progress(tmp_path) is None
    stage("Opening the project")
    assert read_progress(tmp_path) == Progress(what="Opening the project", done=0, total=0)


def test_a_busy_job_stops_immediately_and_cleans_up(context, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    job = launcher.start(context.store.project, [sys.executable, "-c", BUSY])
    while "busy" not in job.log.read_text():
        assert launcher.job_state(job) is launcher.JobState.RUNNING
        time.sleep(0.05)
    launcher.stop(job, timeout=20)
    assert launcher.exit_status(job) == INTERRUPTED and commands.was_stopped(job)
    assert commands.failure_message(job).startswith("stopped")
    assert not (tmp_path / "draft").exists()


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ([{"a": 1, "b": None}, {"a": None, "b": None}], [{"a": 1}, {"a": None}]),
        ([{"a": 0, "b": ""}], [{"a": 0, "b": ""}]),
        ([], []),
    ],
)
def test_empty_columns_are_dropped(rows, left):
    assert dataframes.drop_empty_columns(rows) == left
