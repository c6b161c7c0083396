import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradebook.pipelines.jobs import launcher
from gradebook.pipelines.jobs.launcher import (
    Job,
    JobState,
    can_resume,
    exit_status,
    find_job,
    interrupt,
    job_state,
    resume_training,
    start,
    start_training,
    stop,
)
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.storage.project import Project, create_project
from tests.polling import until

TRAINER = """
import os, signal, subprocess, sys, time
from pathlib import Path
from gradebook.pipelines.process.run_status import State, status_now, write_status
run = Path(sys.argv[1]) / "runs" / sys.argv[sys.argv.index("--run") + 1]
print("settings", *sys.argv[2:], flush=True)
def leave(number, frame):
    write_status(run, status_now(State.STOPPED, pid=os.getpid(), step=4, steps=9))
    sys.exit(0)
signal.signal(signal.SIGINT, leave)
write_status(run, status_now(State.RUNNING, pid=os.getpid(), step=4, steps=9))
time.sleep(60)
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = create_project(tmp_path / "birds", ["crow", "heron"])
    yield project
    for job in launcher.list_jobs(project):
        launcher.kill(job)


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def over(job: Job) -> bool:
    return job_state(job) is not JobState.RUNNING


def test_a_job_has_its_output_and_its_exit_status(project):
    job = start(project, python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"))
    until(lambda: over(job))
    assert (job_state(job), exit_status(job)) == (JobState.FAILED, 3)
    assert sorted(job.log.read_text().split()) == ["err", "out"]
    fine = start(project, python("print('ü')"))
    until(lambda: over(fine))
    assert (job_state(fine), exit_status(fine)) == (JobState.DONE, 0)
    assert [j.path.name for j in launcher.list_jobs(project)] == ["0001", "0002"]


def test_a_command_that_does_not_exist_is_reported_in_the_log(project):
    job = start(project, ["/no/such/program"])
    until(lambda: over(job))
    assert (job_state(job), exit_status(job)) == (JobState.FAILED, 127)
    assert "cannot run /no/such/program" in job.log.read_text()


def test_a_job_outlives_the_process_that_started_it_and_is_found_again(project):
    starter = f"""
from pathlib import Path
from gradebook.pipelines.jobs.launcher import start
from gradebook.storage.project import read_project
start(read_project(Path({str(project.root)!r})), ["sleep", "60"])
"""
    subprocess.run(python(starter), check=True)
    (job,) = launcher.list_jobs(project)
    assert job.command == ("sleep", "60") and job_state(job) is JobState.RUNNING
    stop(job, timeout=10)
    assert job_state(job) is JobState.FAILED


def test_stop_kills_a_job_that_ignores_the_signal(project):
    deaf = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    job = start(project, python(deaf))
    until(lambda: "deaf" in job.log.read_text())
    interrupt(job)
    assert job_state(job) is JobState.RUNNING
    stop(job, timeout=0.2)
    assert job_state(job) is JobState.FAILED and exit_status(job) is None


def test_a_job_runs_as_long_as_a_grandchild_does(project):
    text = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"
    job = start(project, python(text))
    until(lambda: exit_status(job) == 0)
    assert job_state(job) is JobState.RUNNING, "an orphan in the group still works for this job"
    stop(job, timeout=5)
    assert job_state(job) is JobState.DONE


def test_another_process_with_the_same_id_is_not_stopped(project):
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    job = start(project, ["true"])
    until(lambda: over(job))
    text = (job.path / "job.json").read_text().replace(str(job.pid), str(stranger.pid))
    (job.path / "job.json").write_text(text.replace(str(job.started.year), "1999"))
    (mistaken,) = launcher.list_jobs(project)
    assert job_state(mistaken) is JobState.DONE
    stop(mistaken, timeout=0)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_an_ignored_interrupt_is_not_inherited(project):
    """A script that starts the app with `&` makes it ignore Ctrl-C; its jobs must not inherit that."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        job = start(project, python("import time; print('up', flush=True); time.sleep(60)"))
    finally:
        signal.signal(signal.SIGINT, before)
    until(lambda: "up" in job.log.read_text())
    interrupt(job)
    until(lambda: over(job))
    assert "KeyboardInterrupt" in job.log.read_text()


def test_a_training_is_a_run_from_its_start_until_it_is_stopped(project, tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(TRAINER)
    monkeypatch.setattr(launcher, "TRAIN", tmp_path / "train.py")
    monkeypatch.setenv("PYTHONPATH", str(Path(launcher.__file__).parents[1]))
    run = start_training(project, preset="head", method="mpl", steps=9, seed=5, more={"lr": 0.1})
    assert (run.name, run.status().state, run.status().steps) == ("mpl-001", State.STARTING, 9)
    until(lambda: run.status().state is State.RUNNING)
    job = find_job(run)
    assert job is not None and job_state(job) is JobState.RUNNING
    assert job.log.read_text() == "settings --run mpl-001 --preset head --method mpl --steps 9 --seed 5 --lr 0.1\n", (
        "Accelerate adds no remark"
    )
    interrupt(job)
    until(lambda: over(job))
    assert (run.status().state, run.status().step) == (State.STOPPED, 4)
    assert "Traceback" not in job.log.read_text()
    assert exit_status(job) == 0


def test_a_stopped_training_continues_from_its_checkpoint(project, monkeypatch):
    monkeypatch.setattr(launcher, "_launch", lambda: ["echo"])
    run = start_training(project, preset="quick", method="mpl", steps=9)
    until(lambda: over(find_job(run)))
    with pytest.raises(ValueError, match="no checkpoint"):
        resume_training(project, run)
    (run.path / "checkpoints" / "step-4").mkdir(parents=True)
    write_status(run.path, status_now(State.RUNNING, pid=os.getpid(), step=4, steps=9))
    with pytest.raises(ValueError, match="stop it first"):
        resume_training(project, run)
    write_status(run.path, status_now(State.STOPPED, pid=0, step=4, steps=9))
    assert can_resume(run)
    resume_training(project, run)
    until(lambda: over(find_job(run)))
    assert find_job(run).log.read_text().splitlines()[-1] == f"{project.root} --run mpl-001 --resume"
    assert run.status().step == 4


def test_a_training_stopped_before_its_first_step_says_so(project, monkeypatch, tmp_path):
    monkeypatch.setattr(launcher, "_launch", lambda: python("import time; time.sleep(60)"))
    run = start_training(project, preset="head", method="uda")
    job = find_job(run)
    stop(job, timeout=10)
    assert run.status().state is State.STOPPED
    assert run.status().message == "Stopped before the first step."
    assert start_training(project, preset="head", method="uda").name == "uda-002"


def test_a_training_that_cannot_start_has_failed(project, monkeypatch):
    monkeypatch.setattr(launcher, "_launch", lambda: python("raise SystemExit('no such preset')"))
    run = start_training(project, preset="hat", method="mpl")
    until(lambda: over(find_job(run)))
    assert run.status().state is State.FAILED
    assert "no such preset" in find_job(run).log.read_text()


def test_an_unreadable_job_says_what_to_do(project):
    job = start(project, ["true"])
    until(lambda: over(job))
    (job.path / "job.json").write_text("{")
    with pytest.raises(ValueError, match=r"job\.json cannot be read"):
        launcher.list_jobs(project)
    os.unlink(job.path / "job.json")
    assert launcher.list_jobs(project) == []
