"""Two processes with half a batch each are one process with all of it."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from gradebook import pipelines
from gradebook.pipelines import train as module
from gradebook.pipelines.cli.train_command import parse_command
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training import loop
from gradebook.pipelines.training.backend import check_processes
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.data_modules import ProjectData
from gradebook.pipelines.training.presets import quick
from gradebook.pipelines.training.run_setup import saved_config
from gradebook.pipelines.training.trainer import train
from gradebook.storage.store import Store
from tests.forkserver import together
from tests.pipelines.projects import (
    copy_of,
    flags,
    listener_of_run_live,
    make_project,
    rows,
    timeless,
    trained,
    weights,
)

pytestmark = pytest.mark.slow

PIPELINES = str(Path(pipelines.__file__).parent)
ROOT = str(Path(__file__).parents[3])

# Does what `accelerate launch pipelines/train.py` does, once for each line of its input: one start of Python for all.
LAUNCHED = f"""
import sys

sys.path[:0] = [{PIPELINES!r}, {ROOT!r}]
from tests.pipelines.training.test_train_two_processes import go_through

go_through([line.split() for line in open(sys.argv[1])])
"""
BATCH_NORM = ("--method", "mean_teacher", "--inputs", "pixels", "--backbone", "test_efficientnet")
PIXELS = ("--inputs", "pixels", "--backbone", "test_convnext")  # a network without BatchNorm
KINDS = {
    "exact": (),
    "difference": ("--feedback", "difference", "--precision", "no"),
    "supervised": ("--method", "supervised"),
    "live": (),  # labels come in while it trains
    "pixels": PIXELS,
    "parts": (*PIXELS, "--accumulate", "2"),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> tuple[Store, Store]:
    """One project where one process trained, and one where two did."""
    root = tmp_path_factory.mktemp("two")
    one = make_project(root)
    two = copy_of(one, root / "other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradebook.pipelines.training.data_modules.ProjectData.label_listener", listener_of_run_live)
        for run, extra in KINDS.items():
            trained(one, *extra, run=run, steps=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradebook.pipelines.training.loop._requests", lambda state: (state.step == 4, False))
        trained(two, run="begun-by-one", steps=8)
    lines = [
        *(["0", *flags(two, *extra, run=run, steps=8)] for run, extra in KINDS.items()),
        ["0", *flags(two, *BATCH_NORM, run="whole", steps=8)],
        ["4", *flags(two, *BATCH_NORM, run="resumed", steps=8)],
        ["0", str(two.project.root), "--resume", "--run", "resumed"],
        ["0", str(two.project.root), "--resume", "--run", "killed"],
        ["4", *flags(two, run="begun-by-two", steps=8)],
        ["0", str(two.project.root), "--resume", "--run", "begun-by-one"],
    ]
    assert together(2, go_through, [["-5", *flags(two, *BATCH_NORM, run="killed", steps=8)]])[1] == -signal.SIGKILL
    assert Run(two.project.runs / "killed").status().state is State.FAILED
    done = launch(root, *lines)
    assert done.returncode == 0, done.stderr
    assert "1 processes started the run and 2 resume it: equivalent, but not bit for bit" in done.stderr
    result = train(
        parse_command([str(two.project.root), "--resume", "--run", "begun-by-two"], program="", saved=saved_config)
    )
    assert result is not None and result.steps == 8
    return one, two


def launch(root: Path, *lines: list[str]) -> "subprocess.CompletedProcess[str]":
    """Runs some trainings, one after the other, on two processes."""
    (root / "launched.py").write_text(LAUNCHED)
    (root / "lines").write_text("\n".join(" ".join(line) for line in lines))
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
        *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
        *(str(root / "launched.py"), str(root / "lines")),
    ]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def go_through(lines: list[list[str]]) -> None:
    """Trains once for each line.

    It begins with the steps after which somebody asks the run to stop (0: nobody), or after which, -N, one is killed.
    """
    ProjectData.label_listener = listener_of_run_live
    requests = loop._requests
    for stop, *words in lines:
        loop._requests = partial(_requests_or_killed, int(stop), requests)
        assert module.main(words) == 0


def _requests_or_killed(stop: int, requests, state) -> tuple[bool, bool]:
    if stop > 0:
        return state.step == stop, False
    if state.step == -stop and state.backend.process == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return requests(state)


@pytest.mark.parametrize("run", KINDS)
def test_the_weights_are_the_same(stores, run):
    one, two = (weights(store, run) for store in stores)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-5)
    last = next(name for name in ("classifier.weight", "model.head.fc.weight") if name in one)
    assert one[last].std() > 1e-2, "nothing was learned: the test would be vacuous"


@pytest.mark.parametrize("run", KINDS)
def test_the_records_have_the_same_rows(stores, run):
    one, two = (rows(store, run) for store in stores)
    assert len(one) == len(two) == 8 * 16
    for a, b in zip(one, two, strict=True):
        for name, value in a.items():
            close = pytest.approx(value, rel=1e-4, abs=1e-4) if isinstance(value, float) else value
            assert b[name] == close, (name, a, b)


@pytest.mark.parametrize("process", [0, 1])
def test_batches_that_go_through_in_parts_give_the_same_weights(stores, process):
    parts, whole = weights(stores[process], "parts"), weights(stores[process], "pixels")
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("run", ["begun-by-one", "begun-by-two"])
def test_a_run_continues_with_another_number_of_processes(stores, run):
    """Weights and record are those of the run that one process did from beginning to end."""
    whole, handed_on = weights(stores[0], "exact"), weights(stores[1], run)
    for name in whole:
        torch.testing.assert_close(whole[name], handed_on[name], rtol=0, atol=1e-5)
    one, two = rows(stores[0], "exact"), rows(stores[1], run)
    assert [(row["step"], row["sample_id"]) for row in one] == [(row["step"], row["sample_id"]) for row in two]


@pytest.mark.parametrize("run", ["resumed", "killed"])
def test_two_processes_resume_bit_for_bit(stores, run):
    """Stopped, or one process killed; also for methods that depend on each process's own BatchNorm statistics."""
    whole, resumed = (weights(stores[1], name) for name in ("whole", run))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert rows(stores[1], "whole") == rows(stores[1], run)


def test_live_labels_are_applied_by_both_processes_at_the_same_step(stores):
    one, two = (Run(store.project.runs / "live") for store in stores)
    assert one.changes() == two.changes()
    assert [change.step for change in one.changes()] == [3]
    moved = set(one.changes()[0].labels)
    assert len(moved) == 12
    assert not moved & {row["sample_id"] for row in rows(stores[1], "live") if row["step"] > 3}


@pytest.mark.parametrize("run", KINDS)
def test_each_process_wrote_its_half_of_the_record(stores, run):
    names = {p.name.split("-")[0] for p in (stores[1].project.runs / run / "record").glob("*.parquet")}
    assert names == {"rank0", "rank1"}
    assert Run(stores[1].project.runs / run).config()["processes"] == 2


@pytest.mark.parametrize("run", KINDS)
def test_the_metrics_are_means_over_the_processes(stores, run):
    one, two = (timeless(store, run) for store in stores)
    assert [row.keys() for row in one] == [row.keys() for row in two]
    for a, b in zip(one, two, strict=True):
        # the root of a mean of squares is not the mean of roots, and a share over half a batch comes in larger steps
        assert b.pop("feedback_share", 0.0) == pytest.approx(a.pop("feedback_share", 0.0), rel=0.3)
        assert b == pytest.approx(a, rel=0.05, abs=1e-4)
    assert all(Run(store.project.runs / run).status().state is State.FINISHED for store in stores)


def test_processes_without_a_common_launch_are_a_one_line_error(monkeypatch):
    """What two processes find that were launched as if they had GPUs."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        ConfigError, match=r"2 processes were launched, but each would train alone: .* ACCELERATE_USE_CPU"
    ):
        check_processes(quick("mpl"), 1)
    check_processes(quick("mpl"), 2)


def test_a_batch_that_cannot_be_halved_is_a_one_line_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="labelled=32 does not divide by 3 processes: choose a multiple"):
        check_processes(quick("mpl"), 3)
