"""A run has one owner: another process that trains it is refused."""

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gradebook.pipelines.jobs import launcher
from gradebook.pipelines.jobs.launcher import TRAIN
from gradebook.pipelines.maintenance.verify import verify
from gradebook.pipelines.process import owner
from gradebook.pipelines.process.owner import OWNER, check_unowned, owned
from gradebook.pipelines.process.pids import ProcessId, identify, this_process
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.checkpoints import newest_step
from gradebook.pipelines.training.config import ConfigError
from gradebook.storage.project import Project, ProjectError, create_project
from gradebook.storage.store import Store, open_store
from tests.forkserver import forked
from tests.pipelines.projects import flags, make_project, run_of, trained
from tests.polling import until

ROOT = Path(__file__).parents[2]
OWNING = """
import sys, time
from pathlib import Path
from gradebook.pipelines.process.owner import owned
from gradebook.pipelines.process.pids import this_process
with owned(Path(sys.argv[1]), [this_process()]):
    print("owns", flush=True)
    time.sleep(60)
"""
ELSEWHERE = ProcessId(host="elsewhere", boot="1", pid=7, started=8.0)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return create_project(tmp_path / "birds", ["crow", "heron"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "r"
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def python(text: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", text, *arguments]


def write_owner(directory: Path, *processes: ProcessId) -> None:
    (directory / OWNER).write_text(json.dumps({"processes": [asdict(process) for process in processes]}))


# Who owns a directory


def test_a_second_process_is_refused_in_a_sentence_that_names_the_first_and_takes_over_when_it_is_killed(run):
    first = subprocess.Popen(python(OWNING, str(run)), stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None and first.stdout.readline() == "owns\n"
    with pytest.raises(ProjectError, match=f"^r belongs to process {first.pid} on {socket.gethostname()}"):
        owned(run, [this_process()]).__enter__()
    first.kill()
    first.wait()
    assert (run / OWNER).exists(), "a killed process cannot remove it"
    check_unowned(run)
    with owned(run, [this_process()]):
        assert json.loads((run / OWNER).read_text())["processes"][0]["pid"] == os.getpid()
    assert sorted(path.name for path in run.iterdir()) == ["config.json"], "nothing stays behind"


def test_of_many_processes_that_want_a_directory_at_once_one_gets_it(run):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    racers = [subprocess.Popen(python(OWNING, str(run)), **pipes) for _ in range(4)]
    until(lambda: sum(racer.poll() is None for racer in racers) == 1)
    (winner,) = [racer for racer in racers if racer.poll() is None]
    assert winner.stdout is not None and winner.stdout.readline() == b"owns\n"
    for racer in racers:
        racer.kill()
        _, error = racer.communicate()
        assert racer is winner or f"belongs to process {winner.pid} on ".encode() in error


def test_a_claim_of_a_dead_process_or_from_before_a_restart_is_taken_over(run):
    own = this_process()
    gone = subprocess.Popen(["true"])
    was = identify(gone.pid)
    gone.wait()
    for stale in (was, replace(own, boot="before the restart"), replace(own, started=own.started - 1)):
        assert stale is not None
        write_owner(run, stale)
        with owned(run, [own]):
            pass


def test_a_claim_on_another_machine_holds_and_the_sentence_says_how_to_remove_it(run):
    write_owner(run, ELSEWHERE)
    with pytest.raises(ProjectError, match=r"process 7 on elsewhere.*if it has ended, delete .*runs/r/owner\.json"):
        owned(run, [this_process()]).__enter__()
    (run / OWNER).unlink()
    with owned(run, [this_process()]):
        pass


def test_a_worker_that_outlives_the_first_process_keeps_the_directory(run):
    worker = subprocess.Popen(["sleep", "60"])
    try:
        dead, alive = replace(this_process(), boot="before"), identify(worker.pid)
        assert alive is not None
        write_owner(run, dead, alive)
        with pytest.raises(ProjectError, match=f"process {worker.pid} on "):
            check_unowned(run)
    finally:
        worker.kill()
        worker.wait()
    check_unowned(run)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"processes": [{"pid": 1}]}', '{"processes": 3}', "\xff"])
def test_an_owner_file_that_cannot_be_read_says_what_to_do(run, content):
    (run / OWNER).write_text(content)
    with pytest.raises(ProjectError, match=r"owner\.json cannot be read .*: delete it if nothing works in"):
        owned(run, [this_process()]).__enter__()


def test_a_directory_in_which_nothing_was_written_is_removed(tmp_path):
    with owned(tmp_path / "new", [this_process()]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_file_alone_protects_where_the_system_has_no_locks(run, monkeypatch):
    monkeypatch.setattr(owner, "_acquire", lambda lock, directory: None)
    with owned(run, [this_process()]), pytest.raises(ProjectError, match=f"process {os.getpid()} on "):
        owned(run, [this_process()]).__enter__()


# Trainings


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return make_project(tmp_path_factory.mktemp("project"))


def program(store: Store, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "gradebook.pipelines.cli.main", "train", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def _train_for_long(root: Path) -> None:
    trained(open_store(root), run="long", steps=1_000_000)


@pytest.mark.slow
def test_a_run_that_trains_is_neither_started_nor_resumed_again_and_stays_as_it_is(store):
    with forked(_train_for_long, store.project.root) as process:
        run = run_of(store, "long")
        until(lambda: run.status().state is State.RUNNING and (run.path / "checkpoints").exists())
        for arguments in (flags(store, run="long"), [str(store.project.root), "--resume", "--run", "long"]):
            refused = program(store, *arguments)
            assert refused.returncode == 2
            assert f"long belongs to process {process.pid} on {socket.gethostname()}" in refused.stderr
            assert len(refused.stderr.strip().splitlines()) == 1
        assert run.status().state is State.RUNNING and run.status().pid == process.pid
    assert run.status().state is State.FAILED
    with pytest.raises(ConfigError, match="there is a run 'long' already"):
        trained(store, run="long")


@pytest.mark.slow
def test_a_resume_is_refused_while_workers_of_a_killed_launcher_train_and_they_end(tmp_path):
    store = make_project(tmp_path)
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
        *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
        *(str(TRAIN), *flags(store, "--checkpoint-every", "10", steps=1_000_000)),
    ]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launching = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        until(lambda: run_of(store).status().state is State.RUNNING and run_of(store).status().step > 10)
        workers = owner.read_owners(run_of(store).path)
        assert len(workers) == 2 and all(worker.is_running for worker in workers)
    finally:
        launching.kill()
        launching.wait()
    refusal = ""
    while any(worker.is_running for worker in workers):
        try:
            check_unowned(run_of(store).path)
        except ProjectError as error:
            refusal = str(error)
    assert refusal.startswith("r belongs to process ")
    status = run_of(store).status()
    assert status.state is State.STOPPED and status.step == newest_step(run_of(store).path / "checkpoints")
    check_unowned(run_of(store).path)


def test_a_run_without_a_name_gets_one_of_its_own_while_another_starts(store):
    with owned(store.project.runs / "mpl-001", [this_process()]):
        assert trained(store, run="", steps=2).run == "mpl-002"


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", "..", "a\nb"])
def test_a_name_that_is_no_directory_below_runs_is_refused(store, name):
    with pytest.raises(ConfigError, match="cannot name a directory"):
        trained(store, run=name)


def test_what_two_trainings_of_one_run_left_is_found_with_what_can_be_done(tmp_path):
    """As before runs had an owner: the second one's segment has the same steps, and one checkpoint is half written."""
    store = make_project(tmp_path)
    trained(store, "--checkpoint-every", "2", steps=4)
    first, second = sorted((run_of(store).path / "record").glob("*.parquet"))
    shutil.copy(first, second.with_name("rank0-000003.parquet"))
    state = run_of(store).path / "checkpoints" / "step-000004" / "state.pt"
    state.write_bytes(state.read_bytes()[:-100])
    advice = {finding.problem: finding.advice for finding in verify(store.project.root).findings}
    assert (
        "train again under another name"
        in advice["r: 2 segments of rank0 have steps in common, as when two trainings wrote to one run at once"]
    )
    assert "quarantines it and starts from the one before" in advice["a checkpoint of r is corrupt: state.pt"]


def test_the_directory_of_a_run_that_was_killed_before_it_started_is_removed(tmp_path):
    root = create_project(tmp_path / "birds", ["crow"]).root
    for name, process in (("dead", replace(this_process(), boot="before")), ("alive", this_process())):
        path = root / "runs" / name
        path.mkdir(parents=True)
        write_owner(path, process)
        (path / owner.LOCK).touch()
        os.utime(path, (0, 0))
    verify(root, repair=True)
    assert [path.name for path in (root / "runs").iterdir()] == ["alive"]


def test_a_run_on_another_machine_that_shares_the_disk_is_believed_to_train(project):
    path = project.runs / "r"
    path.mkdir(parents=True)
    write_status(path, status_now(State.RUNNING, pid=2**22 - 1, step=4, steps=9))
    assert Run(path).status().state is State.FAILED
    write_owner(path, ELSEWHERE)
    assert Run(path).status().state is State.RUNNING


def test_the_app_does_not_resume_a_run_that_an_orphaned_process_still_trains(project):
    path = project.runs / "r"
    (path / "checkpoints" / "step-4").mkdir(parents=True)
    write_status(path, status_now(State.STOPPED, pid=0, step=4, steps=9))
    with owned(path, [this_process()]), pytest.raises(ProjectError, match="r belongs to process"):
        launcher.resume_training(project, Run(path))
    assert not (path / "job.json").exists()
