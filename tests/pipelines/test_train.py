"""Training: it repeats, resumes bit for bit, sees what it may see, and says in a sentence why it cannot."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mpl.methods import METHODS
from pipelines import train as module
from pipelines.config import ConfigError
from pipelines.presets import parse
from pipelines.runs import Run, State, status_now, write_status
from pipelines.trainer import data
from pipelines.trainer.founding import saved_settings
from storage.events import Kind, event
from storage.project import add_classes
from storage.samples import Split
from storage.store import Store, open_store
from tests.pipelines.projects import (
    BACKBONE,
    CLASSES,
    DIM,
    LABELLED,
    STRONG,
    TEST,
    TRAIN,
    WEAK,
    copy_of,
    flags,
    make_project,
    rows,
    saved,
    timeless,
    trained,
    weights,
)

PIXELS = ("--inputs", "pixels")
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}  # on busy cores, threads that wait for each other take minutes


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Store:
    return make_project(tmp_path_factory.mktemp("template"))


@pytest.fixture
def store(template, tmp_path) -> Store:
    return copy_of(template, tmp_path / "project")


def resume(store: Store, *extra: str, run: str = "r") -> module.Result:
    call = parse([str(store.project.root), "--resume", "--run", run, *extra], program="train", saved=saved_settings)
    result = module.train(call)
    assert result is not None
    return result


def same_weights(one: Store, other: Store, run: str = "r", other_run: str = "r") -> bool:
    a, b = weights(one, run), weights(other, other_run)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def same_run(one: Store, other: Store) -> bool:
    return same_weights(one, other) and rows(one) == rows(other) and timeless(one) == timeless(other)


# What a run is


@pytest.mark.parametrize("inputs", ["views", "pixels"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_views_and_on_pixels(store, method, inputs):
    result = trained(store, "--method", method, "--inputs", inputs, steps=4)
    assert (result.state, result.steps, result.validation_labels) == (State.FINISHED, 4, 2)
    assert all(torch.isfinite(value).all() for value in weights(store).values())
    table = pq.read_table(store.project.runs / "r" / "predictions.parquet")
    assert table.num_rows == TRAIN - LABELLED
    assert json.loads(table.schema.metadata[b"classes"]) == list(CLASSES)
    for who in ("student", "teacher") if METHODS[method].teacher else ("student",):
        assert np.array(table[who].to_pylist()).sum(1) == pytest.approx(1, abs=1e-5)
    assert table["teacher"].null_count == (0 if METHODS[method].teacher else len(table))
    assert {row["step"] for row in rows(store)} == {1, 2, 3, 4}
    assert len(rows(store)) == 4 * 16


def test_a_run_leaves_what_others_read(store):
    result = trained(store, "--seed", "3")
    run = Run(store.project.runs / "r")
    assert sorted(p.name for p in run.path.iterdir()) == [
        *("checkpoints", "config.json", "labels.json", "metrics.jsonl", "predictions.parquet", "record"),
        *("samples.json", "status.json", "student.safetensors"),
    ], "no draft stays behind"
    status = run.status()
    assert (status.state, status.step, status.steps, status.message) == (State.FINISHED, 6, 6, "")
    assert status.images_per_second > 0
    config = run.config()
    assert (config["seed"], config["steps"], config["run"], config["classes"]) == (3, 6, "r", list(CLASSES))
    assert config["settings"]["feedback"] == "exact", "the method's own defaults included"
    given = {s.sample_id: CLASSES[n % 3] for n, s in enumerate(store.catalog.samples()[:LABELLED])}
    assert run.labels() == given
    steps = [row["step"] for row in run.metrics()]
    assert steps == sorted(set(steps)) and steps[-1] == 6
    assert {"student_loss", "teacher_loss", "feedback_rms", "agreement"} <= run.metrics()[-1].keys()
    assert run.metrics()[-1]["validation_accuracy"] == result.validation_accuracy


def test_a_run_gets_a_name_and_keeps_it_to_itself(store):
    assert trained(store, run="", steps=2).run == "mpl-001"
    assert trained(store, run="", steps=2).run == "mpl-002"
    with pytest.raises(ConfigError, match=r"there is a run 'mpl-001' already.*--resume, or choose another --run"):
        trained(store, run="mpl-001", steps=2)


def test_the_record_of_a_run_without_a_teacher_says_nothing_of_one(store):
    trained(store, "--method", "supervised", "--record-every", "2")
    found = rows(store)
    assert {row["step"] for row in found} == {2, 4, 6}
    unknown = {"teacher_label", "teacher_probability", "runner_up", "feedback", "best_label", "best_gain"}
    assert all(row[name] is None for row in found for name in unknown)
    assert all(0 <= row["student_label"] < 3 and 0 < row["student_probability"] <= 1 for row in found)


def test_supervised_training_needs_no_unlabelled_image(tmp_path):
    store = make_project(tmp_path, train=9, labelled=9)
    for inputs in ("views", "pixels"):
        result = trained(store, "--method", "supervised", "--inputs", inputs, run=inputs, steps=2)
        assert result.state is State.FINISHED
    with pytest.raises(ConfigError, match="every training image has a label, so mpl has nothing to learn from"):
        trained(store)


def test_it_learns(store):
    assert trained(store, "--student.lr", "0.3", "--teacher.lr", "0.3", steps=60).validation_accuracy == 1.0


# What a run may see


def test_validation_labels_are_held_out(store):
    trained(store, "--validation-share", "0.5", steps=8)
    held = saved(store, "samples.json")["validation"]
    labels = [n % 3 for n in held]
    assert len(held) == 6
    assert max(held) < LABELLED and len(set(held)) == 6
    assert all(labels.count(k) <= LABELLED // 3 - 1 for k in range(3)), "every class keeps a label to learn from"


def test_validation_labels_are_never_trained_on(store, template, tmp_path):
    """Permuting them changes no weight, though permuting the others does."""
    trained(store, "--validation-share", "0.5")
    held = saved(store, "samples.json")["validation"]
    ids = [s.sample_id for s in store.catalog.samples(Split.TRAIN)]

    def with_next_label(positions, name: str) -> Store:
        """Gives samples the next class, all samples' draws as they were."""
        other = copy_of(template, tmp_path / name)
        events = [event(Kind.RELABELLED, ids[n], CLASSES[(n + 1) % 3], actor="ada") for n in positions]
        other.log.append(events)
        return other

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "_held_out", lambda *_: np.array(held))
        moved = with_next_label(held, "moved")
        trained(moved, "--validation-share", "0.5")
        learned = [n for n in range(LABELLED) if n not in held]
        vacuous = with_next_label(learned, "vacuous")
        trained(vacuous, "--validation-share", "0.5")
    assert same_weights(store, moved)
    assert rows(store) == rows(moved)
    assert not same_weights(store, vacuous)


def test_test_labels_and_test_images_never_reach_training(store, template, tmp_path):
    trained(store)
    other = copy_of(template, tmp_path / "other")
    tests = other.catalog.samples(Split.TEST)
    assert len(tests) == TEST
    other.log.append([event(Kind.RELABELLED, s.sample_id, CLASSES[n // 4], actor="ada") for n, s in enumerate(tests)])
    trained(other)
    assert same_run(store, other)
    assert not {s.sample_id for s in tests} & {row["sample_id"] for row in rows(store)}
    assert not {s.sample_id for s in tests} & saved(store, "labels.json").keys()


# Repeating and resuming


@pytest.mark.parametrize("inputs", ["views", "pixels"])
def test_a_run_repeats_bit_for_bit(store, template, tmp_path, inputs):
    other = copy_of(template, tmp_path / "other")
    workers = ("1", "2") if inputs == "pixels" else ("0", "0")
    trained(store, "--inputs", inputs, "--workers", workers[0])
    trained(other, "--inputs", inputs, "--workers", workers[1])
    assert same_run(store, other)
    trained(other, "--inputs", inputs, "--seed", "1", run="s")
    assert not same_weights(store, other, other_run="s")


def stopped_after(step: int, store: Store, *extra: str) -> module.Result:
    """Trains, and asks the trainer to stop after a step, as Ctrl-C does."""
    after_step = module._after_step
    with pytest.MonkeyPatch.context() as patch:

        def ask(t, *args, **kwargs):
            if t.done == step - 1:
                signal.raise_signal(signal.SIGINT)
            after_step(t, *args, **kwargs)

        patch.setattr(module, "_after_step", ask)
        return trained(store, *extra)


KINDS = [*(("--method", method) for method in METHODS), ("--feedback", "reinforce"), PIXELS]


@pytest.mark.parametrize("extra", [*KINDS, (*PIXELS, "--feedback", "reinforce")], ids=" ".join)
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(store, template, tmp_path, extra):
    """Stopped where no checkpoint would have been; what is drawn at random (reinforce) goes on where it was."""
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


def test_what_changes_in_the_project_does_not_change_a_resumed_run_that_does_not_listen(store, template, tmp_path):
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


KILLED = """
import os, signal, sys
from pipelines import train

after_step = train._after_step

def kill(t, *args, **kwargs):
    after_step(t, *args, **kwargs)
    if t.done == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

train._after_step = kill
sys.exit(train.main(sys.argv[2:]))
"""


def test_a_killed_run_resumes_bit_for_bit(store, template, tmp_path):
    trained(store, steps=12)
    other = copy_of(template, tmp_path / "other")
    step = random.randint(1, 11)
    command = [sys.executable, "-c", KILLED, str(step), *flags(other, steps=12)]
    assert subprocess.run(command, env=ONE_THREAD, capture_output=True, timeout=120).returncode == -signal.SIGKILL
    run = Run(other.project.runs / "r")
    assert run.status().state is State.FAILED
    assert "without a word" in run.status().message
    resume(other)
    assert run.status().state is State.FINISHED
    assert same_run(store, other), f"killed after step {step}"


def test_ctrl_c_stops_a_run_with_its_workers_and_status_zero(store):
    """From a terminal, every process of the group gets the signal."""
    more = (*PIXELS, "--validate-every", "9999", "--json")
    command = [sys.executable, "-m", "pipelines.train", *flags(store, *more, steps=9999)]
    command[command.index("--workers") + 1] = "2"
    process = subprocess.Popen(
        command, env=ONE_THREAD, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    run = Run(store.project.runs / "r")
    deadline = time.monotonic() + 100
    while not (run.path / "status.json").exists() or run.status().step < 4:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    said = json.loads(out.splitlines()[-1])
    assert {"run", "steps", "seconds", "validation_accuracy"} <= said.keys()
    assert said["run"] == "r" and said["state"] == "stopped"
    assert run.status().state is State.STOPPED and run.status().step == said["steps"] >= 4
    assert "Traceback" not in err
    assert "\r" not in err and "%|" not in err, "no progress bar where nobody looks"
    assert len(err.splitlines()) == 1, err


def test_ctrl_c_before_the_first_step_leaves_a_stopped_run(store, monkeypatch):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.learners, "build", interrupted)
    path = store.project.runs / "r"
    path.mkdir(parents=True)
    write_status(path, status_now(State.STARTING, pid=os.getpid(), step=0, steps=6))  # as the app does
    with pytest.raises(SystemExit) as end:
        module.main(flags(store))
    assert end.value.code == 130
    assert Run(path).status().state is State.STOPPED


# What cannot be


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


def test_resuming_without_a_name_goes_on_with_the_newest_unfinished_run(store):
    with pytest.raises(ConfigError, match="no run that stopped before its end"):
        parse([str(store.project.root), "--resume"], program="train", saved=saved_settings)
    trained(store, run="done", steps=2)
    stopped_after(3, store)
    (store.project.runs / "killed-early").mkdir()
    write_status(store.project.runs / "killed-early", status_now(State.STARTING, pid=0, step=0, steps=5))
    call = parse([str(store.project.root), "--resume"], program="train", saved=saved_settings)
    assert call.config.run == "r"
    with pytest.raises(ConfigError, match="before it had written its settings"):
        resume(store, run="killed-early")
    with pytest.raises(ConfigError, match="give the project first"):
        parse(["--resume", str(store.project.root)], program="gradebook train", saved=saved_settings)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_not_a_number_any_more_ends_in_a_sentence(store, capsys):
    step = METHODS["mpl"].step

    def diverging(learners, batch, runtime, settings, clock):
        report = step(learners, batch, runtime, settings, clock)
        if clock.at == 4:
            with torch.no_grad():
                learners.student.net.classifier.weight.mul_(float("nan"))
        return report

    with pytest.MonkeyPatch.context() as patch:
        broken = type(METHODS["mpl"])(settings=METHODS["mpl"].settings, step=diverging, teacher=True)
        patch.setitem(METHODS, "mpl", broken)
        with pytest.raises(SystemExit) as end:
            module.main(flags(store, "--checkpoint-every", "1", "--log-every", "100", steps=10))
    assert end.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("gradebook: a weight of the student is not a number any more at step 5: lower the learning")
    run = Run(store.project.runs / "r")
    assert (run.status().state, run.status().step) == (State.FAILED, 4)
    assert run.status().message in said
    assert resume(store).state is State.FINISHED, "the checkpoint before it is good"


def test_a_learning_rate_that_is_too_high_ends_in_a_sentence(store, capsys):
    with pytest.raises(SystemExit) as end:
        module.main(flags(store, "--teacher.lr", "1e30", "--student.lr", "1e30", steps=60))
    assert end.value.code == 2
    assert "not a number any more" in capsys.readouterr().err.splitlines()[-1]
    assert Run(store.project.runs / "r").status().state is State.FAILED


def test_a_full_disk_ends_in_a_sentence_and_resumes(store, capsys):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        with pytest.raises(SystemExit) as end:
            module.main(flags(store))
    assert end.value.code == 2
    assert "the record cannot be written" in capsys.readouterr().err
    assert Run(store.project.runs / "r").status().state is State.FAILED
    assert resume(store).state is State.FINISHED


def test_a_damaged_checkpoint_is_put_aside_and_told(store, template, tmp_path, capsys):
    trained(store)
    other = copy_of(template, tmp_path / "other")
    stopped_after(4, other)
    kept = other.project.runs / "r" / "checkpoints"
    (kept / "step-000004" / "state.pt").write_bytes(b"")
    resume(other)
    said = capsys.readouterr().err
    assert "step-000004 is damaged (state.pt) and is now damaged-step-000004: the run goes on from step 3" in said
    assert same_weights(store, other)
    assert rows(store) == rows(other)
    assert {p.name for p in kept.iterdir()} == {"damaged-step-000004", "step-000003", "step-000006"}


def test_a_run_without_a_whole_checkpoint_begins_again(store, template, tmp_path, capsys):
    trained(store)
    other = copy_of(template, tmp_path / "other")
    stopped_after(2, other)
    (other.project.runs / "r" / "checkpoints" / "step-000002" / "process-0.pt").unlink()
    resume(other)
    said = capsys.readouterr().err
    assert "(process-0.pt) and is now damaged-step-000002: the run goes on from its beginning" in said
    assert same_weights(store, other)
    assert rows(store) == rows(other)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_image_that_is_gone_ends_in_a_sentence(tmp_path, workers):
    store = make_project(tmp_path)
    Path(store.catalog.samples()[3].filepath).unlink()
    with pytest.raises(ConfigError, match=r"003\.png cannot be read.*put the file back"):
        trained(store, *PIXELS, "--workers", workers)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--steps", "0"), "steps=0 must be above 0"),
        (("--preset", "slow"), "there is no preset 'slow': choose one of quick, finetune"),
        (("--method", "magic"), "there is no method 'magic': choose one of"),
        (("--backbone", "resnet10t"), "no cached views of resnet10t in this project: run: gradebook embed"),
        ((*PIXELS, "--backbone", "resnet10"), r"timm has no model resnet10: do you mean resnet10t"),
        ((*PIXELS, "--backbone", "test_vit"), "test_vit only takes images of 160 px: give --size 160"),
        (("--method", "mean_teacher", "--average", "0"), "--average"),
        (("--average", "1"), "average=1.0"),
        (("--accumulate", "2"), "cached views need no parts"),
        (("--checkpoints", "0"), "checkpoints=0 must be above 0"),
        (("--run", "a/b"), "cannot name a directory"),
    ],
)
def test_settings_that_cannot_be_are_a_sentence(store, capsys, more, says):
    with pytest.raises(SystemExit) as end:
        module.main([*flags(store), *more])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_too_few_labels_are_a_sentence(tmp_path):
    store = make_project(tmp_path, labelled=1)
    with pytest.raises(ConfigError, match="fewer than two classes have a label: label at least one image of each"):
        trained(store)
    assert not store.project.runs.exists(), "nothing was begun"
