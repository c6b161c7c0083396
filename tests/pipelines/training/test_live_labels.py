"""Labels that are given while a run trains."""

import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from gradebook.pipelines.cli.train_command import parse_command
from gradebook.pipelines.runs import Change, Run
from gradebook.pipelines.training import loop
from gradebook.pipelines.training import trainer as module
from gradebook.pipelines.training.dataset import TrainingSet, load_saved_training_set, load_training_set
from gradebook.pipelines.training.live_labels import LabelListener, apply_change, label_changes
from gradebook.pipelines.training.run_setup import saved_config
from gradebook.pipelines.training.sampler import Sampler, SamplerTimeline
from gradebook.storage.events import Kind, event
from gradebook.storage.samples import Split
from gradebook.storage.store import Store
from tests.pipelines.projects import (
    CLASSES,
    LABELLED,
    ScriptedListener,
    class_of,
    copy_of,
    flags,
    labels,
    rows,
    timeless,
    weights,
)
from tests.pipelines.training.resuming import resume

PIXELS = ("--inputs", "pixels", "--workers", "2", "--validate-every", "12")


def run(store: Store, *extra: str, steps: int = 12):
    return module.train(parse_command(flags(store, *extra, steps=steps), program="train", saved=saved_config))


def give_labels(monkeypatch, *news: dict[str, str] | None) -> None:
    """Gives the next run these labels: the first after its first step, the next after its second, and so on."""
    monkeypatch.setattr(
        "gradebook.pipelines.training.data_modules.ProjectData.label_listener", lambda data: ScriptedListener(*news)
    )


def samples(store: Store) -> tuple[list, list]:
    """Returns the training samples that have a label, and those that have none."""
    everyone = store.catalog.samples(Split.TRAIN)
    return everyone[:LABELLED], everyone[LABELLED:]


@pytest.mark.parametrize("extra", [(), PIXELS], ids=["views", "pixels"])
def test_a_label_moves_its_sample_to_the_labelled_set(store, monkeypatch, extra):
    known, others = samples(store)
    give_labels(monkeypatch, None, None, labels(*known, *others[:20]))
    assert run(store, *extra).steps == 12
    (change,) = Run(store.project.runs / "r").changes()
    assert change.labels == labels(*others[:20])
    assert change.step == 3 + (4 if extra else 0)  # two workers have asked for two batches each
    assert Run(store.project.runs / "r").labels() == labels(*known, *others[:20])
    moved = set(change.labels)
    seen = [(row["step"], row["sample_id"]) for row in rows(store)]
    assert any(sample in moved for step, sample in seen if step <= change.step)
    assert not any(sample in moved for step, sample in seen if step > change.step)


def test_a_rejected_image_leaves_the_unlabelled_set_and_an_undo_returns_it(store, monkeypatch):
    known, others = samples(store)
    out = {s.sample_id for s in others[:20]}
    give_labels(monkeypatch, None, labels(*known) | dict.fromkeys(out), labels(*known) | dict.fromkeys(sorted(out)[:5]))
    run(store, "--steps", "40")
    first, second = Run(store.project.runs / "r").changes()
    assert set(first.rejected) == set(first.labels) == out
    assert (second.rejected, set(second.labels)) == ((), set(sorted(out)[5:]))
    drawn = [(row["step"], row["sample_id"]) for row in rows(store)]
    assert any(sample in out for step, sample in drawn if step <= first.step)
    assert not any(sample in out for step, sample in drawn if first.step < step <= second.step)
    assert {sample for step, sample in drawn if step > second.step} & out == out - set(sorted(out)[:5])
    assert Run(store.project.runs / "r").labels() == labels(*known)


def test_a_rejected_image_is_excluded_at_the_start_and_on_resume(store, monkeypatch):
    _, others = samples(store)
    out = {s.sample_id for s in others[:20]}
    store.log.append_now([event(Kind.REJECTED, sample_id, actor="ada") for sample_id in out])
    begun = load_training_set(store, parse_command(flags(store), program="train", saved=saved_config).config)
    assert {begun.sample_ids[k] for k in begun.rejected} == out
    run(store, "--no-live", steps=6)
    assert not out & {row["sample_id"] for row in rows(store)}
    again = load_saved_training_set(store, store.project.runs / "r")
    assert [getattr(again, name).tolist() for name in ("unlabelled", "rejected", "labelled")] == [
        getattr(begun, name).tolist() for name in ("unlabelled", "rejected", "labelled")
    ]


def test_labels_given_during_a_training_are_learned(store, monkeypatch):
    known, others = samples(store)
    give_labels(monkeypatch, labels(*known, *others[:30]))
    run(store, "--method", "supervised", "--validation-share", "0")
    one = weights(store)
    give_labels(monkeypatch, labels(*known))
    run(store, "--method", "supervised", "--validation-share", "0", "--run", "s")
    other = weights(store, "s")
    assert Run(store.project.runs / "s").changes() == []
    assert any((one[name] != other[name]).any() for name in one)


def test_a_corrected_or_retracted_label_reaches_the_run(store, monkeypatch):
    known, _ = samples(store)
    wrong = CLASSES[(CLASSES.index(class_of(known[0])) + 1) % 3]
    now = labels(*known[2:]) | {known[0].sample_id: wrong}
    give_labels(monkeypatch, now)
    run(store, "--validation-share", "0")
    assert Run(store.project.runs / "r").labels() == now
    assert known[1].sample_id in {row["sample_id"] for row in rows(store) if row["step"] > 1}


@pytest.mark.parametrize("extra", [(), pytest.param(PIXELS, marks=pytest.mark.slow)], ids=["views", "pixels"])
def test_a_resumed_run_applies_labels_at_the_same_step(store, template, tmp_path, monkeypatch, extra):
    known, others = samples(store)
    news = (None, labels(*known, *others[:10]), None, labels(*known, *others[:25]))
    give_labels(monkeypatch, *news)
    run(store, *extra)

    killed = copy_of(template, tmp_path / "killed")
    give_labels(monkeypatch, *news)
    with monkeypatch.context() as patch:
        after = loop._after_step

        def die(state, *given, **more):
            after(state, *given, **more)
            if state.step == 8:
                raise SystemExit("killed")

        patch.setattr(loop, "_after_step", die)
        with pytest.raises(SystemExit):
            run(killed, *extra)
    give_labels(monkeypatch)
    checkpoints = killed.project.runs / "r" / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {"step-000003", "step-000006"}
    shutil.rmtree(checkpoints / "step-000006")  # so that there are changes before and after the step it resumes from
    assert resume(killed).steps == 12
    changes = [Run(s.project.runs / "r").changes() for s in (store, killed)]
    assert changes[0] == changes[1]
    assert len(changes[0]) == 2
    assert rows(store) == rows(killed)
    one, other = weights(store), weights(killed)
    assert all((one[name] == other[name]).all() for name in one)
    assert timeless(store)[-1] == timeless(killed)[-1]


def test_labels_of_a_class_unknown_to_the_run_wait_for_the_next_run(store, monkeypatch):
    known, others = samples(store)
    now = labels(*known[1:]) | {known[0].sample_id: "lynx", others[0].sample_id: "lynx"}
    give_labels(monkeypatch, now)
    run(store, "--validation-share", "0")
    assert Run(store.project.runs / "r").changes()[0].labels == {known[0].sample_id: None}


def test_a_change_that_would_leave_no_samples_is_not_applied(store, monkeypatch, capsys):
    known, others = samples(store)
    give_labels(monkeypatch, labels(*known, *others), {})
    assert run(store).steps == 12
    assert Run(store.project.runs / "r").changes() == []
    assert capsys.readouterr().err.count("it continues without them") == 2


def test_a_verdict_reaches_a_run_that_is_training(store):
    """The whole way: an event in the log, the listener, the loop."""
    _, others = samples(store)
    verdict = event(Kind.RELABELLED, others[0].sample_id, class_of(others[0]), actor="ada")
    after, given = loop._after_step, threading.Event()
    with pytest.MonkeyPatch.context() as patch:

        def slowly(state, *more, **named):
            after(state, *more, **named)
            if state.step == 3:
                store.log.append([verdict])
                given.set()
            if given.is_set() and not Run(state.path).changes():
                time.sleep(0.1)

        patch.setattr(loop, "_after_step", slowly)
        patch.setitem(LabelListener.__init__.__kwdefaults__, "every", 0.02)
        run(store, steps=100)
    (change,) = Run(store.project.runs / "r").changes()
    assert change.labels == {others[0].sample_id: class_of(others[0])}
    assert change.step >= 3


def test_live_labels_can_be_turned_off(store, monkeypatch):
    known, others = samples(store)
    give_labels(monkeypatch, labels(*known, *others[:5]))
    run(store, "--no-live")
    assert Run(store.project.runs / "r").changes() == []


def test_an_unreadable_log_is_reported_once_and_read_later(capsys):
    state: dict = {"version": OSError("gone"), "labels": {"a": "x"}}

    def asked(name: str):
        if isinstance(state[name], OSError):
            raise state[name]
        return state[name]

    listener = LabelListener(lambda: asked("version"), lambda: asked("labels"), every=0.0)
    assert not listener.has_news()
    assert not listener.has_news()
    assert capsys.readouterr().err.count("the labels cannot be read at the moment (gone)") == 1
    state["version"] = 1
    assert listener.has_news()
    state["labels"] = OSError("truncated")
    assert listener.take() is None
    assert listener.has_news(), "what could not be read is asked for again"
    state["labels"] = {"a": "y"}
    assert listener.take() == {"a": "y"}
    assert not listener.has_news()
    state["version"] = 2
    assert listener.has_news()


def test_the_log_is_polled_no_more_often_than_the_interval():
    looks: list[int] = []
    listener = LabelListener(lambda: len(looks.append(1) or looks), dict, every=60.0)
    assert [listener.has_news() for _ in range(5)] == [True, False, False, False, False]
    assert len(looks) == 1


def people() -> TrainingSet:
    return TrainingSet(
        classes=("x", "y"),
        sample_ids=["a", "b", "c", "d"],
        labels=np.array([0, 1, -1, -1]),
        labelled=np.array([0]),
        validation=np.array([1]),
        unlabelled=np.array([2, 3]),
    )


def test_held_out_labels_stay_held_out_as_long_as_they_are_labels():
    after = apply_change(people(), Change(step=1, labels={"b": "x", "c": "y"}))
    assert (after.validation.tolist(), after.labelled.tolist(), after.unlabelled.tolist()) == ([1], [0, 2], [3])
    assert after.labels.tolist() == [0, 0, 1, -1]
    out = apply_change(after, Change(step=2, labels={"b": None, "d": None}, rejected=("d",)))
    assert (out.validation.tolist(), out.labelled.tolist(), out.unlabelled.tolist()) == ([], [0, 2], [1])
    assert out.rejected.tolist() == [3]
    assert apply_change(out, Change(step=3, labels={"d": "x"})).rejected.tolist() == []
    after = apply_change(after, Change(step=2, labels={"b": None}))
    assert (after.validation.tolist(), after.labelled.tolist(), after.unlabelled.tolist()) == ([], [0, 2], [1, 3])


def test_changes_concern_only_the_samples_and_classes_of_the_run():
    assert label_changes(people(), {"a": "x", "b": "y"}) == {}
    assert label_changes(people(), {"a": "x", "b": "y", "z": "x", "d": "w"}) == {}
    assert label_changes(people(), {"a": "y", "c": "x"}) == {"a": "y", "c": "x", "b": None}
    assert label_changes(people(), {"a": "x", "b": None, "c": None}) == {"b": None, "c": None}
    rejected = replace(people(), rejected=np.array([2]), unlabelled=np.array([3]))
    assert label_changes(rejected, {"a": "x", "b": "y", "c": None}) == {}
    assert label_changes(rejected, {"a": "x", "b": "y"}) == {"c": None}, "the answer was taken back"
    assert label_changes(rejected, {"a": "x", "b": "y", "c": "x"}) == {"c": "x"}


def sampler(labelled: list[int], unlabelled: list[int]) -> Sampler:
    return Sampler(
        labelled=np.array(labelled), unlabelled=np.array(unlabelled), batch_labelled=2, batch_unlabelled=2, seed=0
    )


def test_a_batch_is_drawn_from_the_sampler_of_its_step():
    deck = SamplerTimeline(sampler([0, 1], [2, 3, 4, 5]))
    before = deck.draw(3)
    deck.change(4, sampler([0, 1, 2, 3], [4, 5]))
    assert deck.draw(3).unlabelled.tolist() == before.unlabelled.tolist()
    after = [deck.draw(step) for step in (4, 5)]
    assert sorted(np.concatenate([draw.labelled for draw in after])) == [0, 1, 2, 3], "a new pass begins at the change"
    assert sorted(after[0].unlabelled) == [4, 5]
    with pytest.raises(AssertionError):
        deck.change(5, sampler([0], [1]))


def test_applied_labels_are_written_before_they_take_effect(store, monkeypatch):
    """Killed between the two files, a run learns of the change from the first."""
    known, others = samples(store)
    give_labels(monkeypatch, labels(*known, *others[:5]))
    with monkeypatch.context() as patch:
        patch.setattr(
            "gradebook.pipelines.training.live_labels.write_labels",
            lambda *given: (_ for _ in ()).throw(OSError("killed")),
        )
        with pytest.raises(OSError, match="killed"):
            run(store)
    give_labels(monkeypatch)
    assert resume(store).steps == 12
    (change,) = Run(store.project.runs / "r").changes()
    assert (change.step, change.labels) == (1, labels(*others[:5]))
    assert Run(store.project.runs / "r").labels() == labels(*known, *others[:5])
    assert not {row["sample_id"] for row in rows(store) if row["step"] > 1} & set(change.labels)
