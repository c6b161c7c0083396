"""Stop signals only the processes of a job, and workers end with their launcher."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gradebook.pipelines.jobs import launcher
from gradebook.pipelines.jobs.launcher import JobState, job_state, start, stop
from gradebook.pipelines.process.pids import identify, send_signal, this_process
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.storage.project import Project, create_project
from tests.polling import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return create_project(tmp_path / "birds", ["crow", "heron"])


@pytest.fixture
def stranger():
    """A process of ours that has nothing to do with the project, and leads a group."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def forge(project: Project, pid: int) -> launcher.Job:
    """Writes the file of a job as a project from elsewhere may have it, about a process that runs here."""
    path = project.root / "jobs" / "0001"
    path.mkdir(parents=True, exist_ok=True)
    later = datetime.now(UTC).replace(year=2999).isoformat()
    (path / "job.json").write_text(json.dumps({"command": ["train"], "pid": pid, "began": later}))
    (job,) = launcher.list_jobs(project)
    return job


def test_a_process_group_with_a_reused_id_is_left_alone(project, stranger):
    job = forge(project, stranger.pid)
    assert job_state(job) is not JobState.RUNNING
    stop(job, timeout=0)
    assert stranger.poll() is None


@pytest.mark.parametrize("pid", [0, -1, 1])
def test_ids_that_stand_for_many_processes_signal_none(project, stranger, pid):
    stop(forge(project, pid), timeout=0)
    assert stranger.poll() is None and identify(os.getpid()) == this_process()


def test_a_status_that_names_a_stranger_does_not_end_it(project, stranger):
    job = forge(project, stranger.pid)
    write_status(job.path, status_now(State.RUNNING, pid=stranger.pid, step=1, steps=2))
    stop(job, timeout=0)
    assert stranger.poll() is None


def test_processes_of_another_job_are_left_alone_too(project):
    job = start(project, ["sleep", "60"])
    forged = project.root / "jobs" / "0002"
    forged.mkdir()
    (forged / "job.json").write_text((job.path / "job.json").read_text())
    _, other = launcher.list_jobs(project)
    stop(other, timeout=0)
    assert job_state(job) is JobState.RUNNING
    stop(job, timeout=10)
    assert job_state(job) is not JobState.RUNNING


def test_a_job_from_before_a_restart_has_no_process(project):
    job = start(project, ["sleep", "60"])
    assert job_state(replace(job, boot="before the restart")) is not JobState.RUNNING
    stop(job, timeout=10)


def test_the_child_of_another_is_not_reaped(project):
    """The process that started it still learns how it ended."""
    child = subprocess.Popen(["false"])
    until(lambda: child.poll.__self__ and Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2][1] == "Z")
    job_state(forge(project, child.pid))
    assert child.wait() == 1


def test_a_signal_does_not_reach_a_process_that_took_over_the_id(stranger):
    was = identify(stranger.pid)
    assert was is not None
    send_signal(replace(was, started=was.started - 1), signal.SIGKILL)
    send_signal(replace(was, boot="before the restart"), signal.SIGKILL)
    assert stranger.poll() is None
    send_signal(was, signal.SIGTERM)
    assert stranger.wait(timeout=30) == -signal.SIGTERM


LAUNCHER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(child.pid, flush=True)
child.wait()
"""
WORKER = """
import signal, sys, time
from gradebook.pipelines.process import launched
launched.POLL_INTERVAL_S = 0.01
launched.stop_with_launcher()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("works", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["accelerate", "torchrun"])
def test_a_worker_ends_with_its_launcher_even_when_that_is_killed(tmp_path, name):
    (tmp_path / name).write_text(LAUNCHER)
    command = [sys.executable, str(tmp_path / name), WORKER]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert running.stdout is not None
    worker = identify(int(running.stdout.readline()))
    assert worker is not None and running.stdout.readline() == "works\n"
    running.kill()
    running.wait()
    until(lambda: not worker.is_running)


def test_a_process_that_a_shell_started_outlives_it(tmp_path):
    (tmp_path / "shell").write_text(LAUNCHER)
    running = subprocess.Popen([sys.executable, str(tmp_path / "shell"), WORKER], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    worker = identify(int(running.stdout.readline()))
    assert worker is not None and running.stdout.readline() == "works\n"
    running.kill()
    running.wait()
    time.sleep(0.1)
    assert worker.is_running
    send_signal(worker, signal.SIGKILL)
