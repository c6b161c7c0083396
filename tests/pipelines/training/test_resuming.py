"""A run repeats, and one that was stopped, killed or damaged ends bit for bit as if it had not been."""

import json
import os
import random
import signal

import numpy as np
import pytest

from gradebook.mpl.methods import METHODS
from gradebook.pipelines import train as module
from gradebook.pipelines.cli.train_command import parse_command
from gradebook.pipelines.curation.class_changes import change_classes, rename
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training import learners, loop
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.run_setup import saved_config
from gradebook.storage.events import Kind, event
from gradebook.storage.samples import Split
from gradebook.storage.store import open_store
from tests.class_changes import add_classes
from tests.forkserver import forked, program
from tests.pipelines.projects import (
    BACKBONE,
    CLASSES,
    DIM,
    STRONG,
    TRAIN,
    WEAK,
    copy_of,
    flags,
    make_project,
    rows,
    saved,
    timeless,
    trained,
)
from tests.pipelines.training.resuming import PIXELS, resume, same_run, same_weights, stopped_after
from tests.polling import until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("inputs", ["views", "pixels"])
def test_a_run_repeats_bit_for_bit(store, template, tmp_path, inputs):
    other = copy_of(template, tmp_path / "other")
    workers = ("1", "2") if inputs == "pixels" else ("0", "0")
    trained(store, "--inputs", inputs, "--workers", workers[0])
    trained(other, "--inputs", inputs, "--workers", workers[1])
    assert same_run(store, other)
    trained(other, "--inputs", inputs, "--seed", "1", run="s")
    assert not same_weights(store, other, other_run="s")


KINDS = [*(("--method", method) for method in METHODS), ("--feedback", "reinforce"), PIXELS]


@pytest.mark.parametrize("extra", [*KINDS, (*PIXELS, "--feedback", "reinforce")], ids=" ".join)
def test_a_stopped_run_ends_as_one_that_was_not_stopped(store, template, tmp_path, extra):
    """Stopped between checkpoints; random draws (reinforce) continue where they were."""
    trained(store, *extra)
    other = copy_of(template, tmp_path / "other")
    result = stopped_after(4, other, *extra)
    assert (result.state, result.steps) == (State.STOPPED, 4)
    assert Run(other.project.runs / "r").status().state is State.STOPPED
    assert {row["step"] for row in rows(other)} == {1, 2, 3, 4}
    assert not (other.project.runs / "r" / "student.safetensors").exists()
    result = resume(other)
    assert (result.state, result.steps) == (State.FINISHED, 6)
    assert same_weights(store, other)
    assert rows(store) == rows(other)
    assert timeless(other)[-1] == timeless(store)[-1]


def test_changes_of_the_project_do_not_reach_a_resumed_run_without_live_labels(store, template, tmp_path):
    trained(store, "--no-live")
    other = copy_of(template, tmp_path / "other")
    stopped_after(3, other, "--no-live")
    new = make_project(tmp_path / "new", train=TRAIN + 9).catalog.samples()[-9:]
    other.catalog.add(new, [])
    views = np.ones((len(new), WEAK + STRONG, DIM), np.float16)
    other.vectors.add(BACKBONE, [s.sample_id for s in new], views)
    ids = [s.sample_id for s in other.catalog.samples(Split.TRAIN)]
    other.log.append([event(Kind.RELABELLED, i, CLASSES[0], actor="ada") for i in ids[5:30]])
    add_classes(other.project, ["raven"])
    resume(open_store(other.project.root))
    assert same_weights(store, other)
    assert rows(store) == rows(other)
    assert saved(store, "labels.json") == saved(other, "labels.json")


def killed_after(step: int, words: list[str]) -> None:
    """Trains in this process, which is killed after a step."""
    after_step = loop._after_step

    def kill(state, *args, **kwargs):
        after_step(state, *args, **kwargs)
        if state.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    loop._after_step = kill
    module.main(words)


def test_a_killed_run_resumes_bit_for_bit(store, template, tmp_path):
    trained(store, steps=12)
    other = copy_of(template, tmp_path / "other")
    step = random.randint(1, 11)
    with forked(killed_after, step, flags(other, steps=12)) as training:
        training.join(120)
        assert training.exitcode == -signal.SIGKILL
    run = Run(other.project.runs / "r")
    assert run.status().state is State.FAILED
    assert "without a message" in run.status().message
    resume(other)
    assert run.status().state is State.FINISHED
    assert same_run(store, other), f"killed after step {step}"


def test_ctrl_c_stops_a_run_with_its_workers_and_status_zero(store, tmp_path):
    """From a terminal, every process of the group gets the signal."""
    words = flags(store, *PIXELS, "--validate-every", "9999", "--workers", "2", "--json", steps=9999)
    run = Run(store.project.runs / "r")
    with forked(program, module.main, words, tmp_path / "output") as training:
        until(lambda: not training.is_alive() or ((run.path / "status.json").exists() and run.status().step >= 4), 200)
        os.killpg(training.pid, signal.SIGINT)
        training.join(60)
    out, err = ((tmp_path / name).read_text() for name in ("output.out", "output.err"))
    assert training.exitcode == 0, err
    result = json.loads(out.splitlines()[-1])
    assert {"run", "steps", "seconds", "validation_accuracy"} <= result.keys()
    assert result["run"] == "r" and result["state"] == "stopped"
    assert run.status().state is State.STOPPED and run.status().step == result["steps"] >= 4
    assert "Traceback" not in err
    assert "\r" not in err and "%|" not in err, "no progress bar where nobody looks"
    assert len(err.splitlines()) == 1, err


def test_ctrl_c_before_the_first_step_leaves_a_stopped_run(store, monkeypatch):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(learners, "build", interrupted)
    path = store.project.runs / "r"
    path.mkdir(parents=True)
    write_status(path, status_now(State.STARTING, pid=os.getpid(), step=0, steps=6))  # as the app does
    with pytest.raises(SystemExit) as end:
        module.main(flags(store))
    assert end.value.code == 130
    assert Run(path).status().state is State.STOPPED


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--steps", "20"), r"\(steps 6, not 20\): leave the others out, or start a new run"),
        (("--method", "uda"), "method mpl, not uda"),
        (("--seed", "9", "--student.lr", "1"), r"seed 0, not 9; student OptimConfig\(lr=0.03"),
    ],
)
def test_resuming_with_another_setting_is_refused(store, more, says):
    stopped_after(3, store)
    with pytest.raises(ConfigError, match=says):
        resume(store, *more)


def test_resuming_without_a_name_continues_the_newest_unfinished_run(store):
    with pytest.raises(ConfigError, match="no run that stopped before its end"):
        parse_command([str(store.project.root), "--resume"], program="train", saved=saved_config)
    trained(store, run="done", steps=2)
    stopped_after(3, store)
    (store.project.runs / "killed-early").mkdir()
    write_status(store.project.runs / "killed-early", status_now(State.STARTING, pid=0, step=0, steps=5))
    call = parse_command([str(store.project.root), "--resume"], program="train", saved=saved_config)
    assert call.config.run == "r"
    with pytest.raises(ConfigError, match="before it had written its settings"):
        resume(store, run="killed-early")
    with pytest.raises(ConfigError, match="give the project first"):
        parse_command(["--resume", str(store.project.root)], program="gradebook train", saved=saved_config)


def test_a_damaged_checkpoint_is_renamed_and_reported(store, template, tmp_path, capsys):
    trained(store)
    other = copy_of(template, tmp_path / "other")
    stopped_after(4, other)
    kept = other.project.runs / "r" / "checkpoints"
    (kept / "step-000004" / "state.pt").write_bytes(b"")
    resume(other)
    printed = capsys.readouterr().err
    assert "step-000004 is damaged (state.pt) and is now damaged-step-000004: the run continues from step 3" in printed
    assert same_weights(store, other)
    assert rows(store) == rows(other)
    assert {p.name for p in kept.iterdir()} == {"damaged-step-000004", "step-000003", "step-000006"}


def test_a_run_without_an_intact_checkpoint_starts_over(store, template, tmp_path, capsys):
    trained(store)
    other = copy_of(template, tmp_path / "other")
    stopped_after(2, other)
    (other.project.runs / "r" / "checkpoints" / "step-000002" / "process-0.pt").unlink()
    resume(other)
    printed = capsys.readouterr().err
    assert "(process-0.pt) and is now damaged-step-000002: the run continues from its beginning" in printed
    assert same_weights(store, other)
    assert rows(store) == rows(other)


def test_a_run_whose_classes_have_changed_is_not_resumed_and_stays_as_it_is(store):
    stopped_after(3, store)
    run = Run(store.project.runs / "r")
    before = run.status()
    change_classes(store, rename(CLASSES[0], "raven"), actor="ada")
    with pytest.raises(ConfigError, match=r"r cannot be resumed: it was trained with .*: crow is raven now"):
        saved_config(store.project.root, "r")
    assert run.status() == before
