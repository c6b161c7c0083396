import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import METRICS, Run, append_metrics, find_run, list_runs, new_run_name
from gradebook.storage.project import Project, ProjectError, create_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return create_project(tmp_path / "birds", ["crow", "heron"])


def a_run(project: Project, name: str, state: State = State.FINISHED, *, began: int = 0) -> Run:
    path = project.runs / name
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    os.utime(path / "config.json", (began, began + 1))
    write_status(path, status_now(state, pid=os.getpid(), step=3, steps=10))
    return Run(path)


def test_a_status_comes_back_as_it_was_written(project):
    run = a_run(project, "mpl-001", State.RUNNING)
    written = status_now(
        State.RUNNING, pid=os.getpid(), step=7, steps=10, images_per_second=12.5, message="Reading labels."
    )
    write_status(run.path, written)
    assert run.status() == written
    assert sorted(p.name for p in run.path.iterdir()) == ["config.json", "status.json"], "no draft stays behind"


def test_a_run_whose_process_is_gone_has_failed(project):
    run = a_run(project, "mpl-001", State.RUNNING)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_status(run.path, status_now(State.RUNNING, pid=gone.pid, step=7, steps=10))
    assert run.status().state is State.FAILED
    assert "step 7" in run.status().message
    write_status(run.path, status_now(State.FINISHED, pid=gone.pid, step=10, steps=10))
    assert run.status().state is State.FINISHED, "only a run that says it is running needs a process"


def test_a_zombie_process_is_not_a_running_training(project):
    run = a_run(project, "mpl-001", State.RUNNING)
    zombie = os.fork()
    if not zombie:
        os._exit(0)
    os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
    write_status(run.path, status_now(State.RUNNING, pid=zombie, step=7, steps=10))
    assert run.status().state is State.FAILED
    os.waitpid(zombie, 0)


def test_another_process_that_got_the_same_id_is_not_the_run(project):
    run = a_run(project, "mpl-001", State.RUNNING)
    status = json.loads((run.path / "status.json").read_text())
    status["updated"] = (datetime.now(UTC) - timedelta(days=9)).isoformat()  # long before this process began
    (run.path / "status.json").write_text(json.dumps(status))
    assert run.status().state is State.FAILED


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"state": "asleep", "updated": "2026-01-01T00:00:00+00:00"}'])
def test_a_broken_status_is_reported_without_raising(project, text):
    run = a_run(project, "mpl-001")
    (run.path / "status.json").write_text(text)
    assert run.status().state is State.FAILED
    assert "status.json" in run.status().message


def test_a_status_with_keys_of_a_later_version_is_read(project):
    run = a_run(project, "mpl-001")
    status = json.loads((run.path / "status.json").read_text()) | {"watts": 300}
    (run.path / "status.json").write_text(json.dumps(status))
    assert run.status().state is State.FINISHED


def test_metrics_are_read_and_a_truncated_line_is_skipped(project):
    run = a_run(project, "mpl-001")
    assert run.metrics() == []
    append_metrics(run.path, {"step": 1, "seconds": 0.5, "student_loss": 2.0, "new_thing": 1.0})
    with (run.path / METRICS).open("a") as file:
        file.write('{"step": 2, "student_lo')
    assert [row["step"] for row in run.metrics()] == [1]
    append_metrics(run.path, {"step": 3, "seconds": 1.5, "student_loss": 1.0})
    assert [row["step"] for row in run.metrics()] == [1, 3], "a truncated line does not swallow the next one"
    assert run.metrics()[0]["new_thing"] == 1.0


def test_a_resumed_run_counts_a_step_once(project):
    run = a_run(project, "mpl-001")
    for step, loss in [(10, 3.0), (20, 2.0), (30, 9.0), (20, 1.9), (30, 1.0)]:
        append_metrics(run.path, {"step": step, "seconds": 0.0, "student_loss": loss})
    append_metrics(run.path, {"step": 30, "validation_accuracy": 0.5})
    assert [(row["step"], row["student_loss"]) for row in run.metrics()] == [(10, 3.0), (20, 1.9), (30, 1.0)]
    assert run.metrics()[-1]["validation_accuracy"] == 0.5


def test_runs_are_listed_oldest_first_and_other_files_are_not_runs(project):
    assert list_runs(project) == []
    a_run(project, "b", began=100)
    a_run(project, "a", began=300)
    a_run(project, "c", began=200)
    (project.runs / "empty").mkdir()
    (project.runs / "notes.txt").write_text("not a run")
    assert [run.name for run in list_runs(project)] == ["b", "c", "a"]


def test_without_a_name_the_newest_finished_run_is_used(project):
    with pytest.raises(ProjectError, match="gradebook train"):
        find_run(project, None)
    a_run(project, "a", State.STOPPED, began=100)
    a_run(project, "b", State.FAILED, began=200)
    assert find_run(project, None).name == "b"
    a_run(project, "c", State.FINISHED, began=150)
    assert find_run(project, None).name == "c"
    assert find_run(project, "a").name == "a"


@pytest.mark.parametrize("name", ["d", "../birds", ".", "", "runs/a"])
def test_a_name_is_a_name_and_not_a_path(project, name):
    a_run(project, "a")
    with pytest.raises(ProjectError, match="choose one of a"):
        find_run(project, name)


def test_a_new_name_is_the_next_number_of_the_method(project):
    assert new_run_name(project, "mpl") == "mpl-001"
    a_run(project, "mpl-007")
    a_run(project, "mpl-mine")
    a_run(project, "uda-009")
    assert new_run_name(project, "mpl") == "mpl-008"


def test_settings_and_labels_of_a_run(project):
    run = a_run(project, "mpl-001")
    assert run.config() == {} and run.labels() == {}
    (run.path / "labels.json").write_text('{"s0": "crow"}')
    assert run.labels() == {"s0": "crow"}
    (run.path / "labels.json").write_text("[1]")
    with pytest.raises(ProjectError, match=r"labels\.json"):
        run.labels()


def test_the_best_run_is_the_finished_one_with_the_highest_validation_accuracy_the_newest_of_equals(project):
    a_run(project, "a", began=100)
    with pytest.raises(ProjectError, match=r"no finished run .* has a validation accuracy"):
        find_run(project, "best")
    scores = {"b": (0.5, 0.9), "c": (0.8, 0.8), "d": (0.9, 0.9), "e": (0.1, 0.2)}
    for began, (name, accuracies) in enumerate(scores.items(), start=200):
        run = a_run(project, name, began=began)
        for step, accuracy in enumerate(accuracies):
            append_metrics(run.path, {"step": step, "validation_accuracy": accuracy})
    unfinished = a_run(project, "f", State.STOPPED, began=300)
    append_metrics(unfinished.path, {"step": 1, "validation_accuracy": 1.0})
    assert find_run(project, "best").name == "d"
    a_run(project, "best", began=50)
    assert find_run(project, "best").name == "best", "a run of that name comes first"
