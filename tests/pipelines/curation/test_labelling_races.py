"""The five ways to decide, at once on the same few samples: the review page, the page Evolution, FiftyOne's buttons,
`gradebook label` and `gradebook undo`, each in a process of its own, while a run takes in the labels.
"""

import json
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from gradebook.pipelines.curation import labelling, retractions
from gradebook.pipelines.curation.labelling import Choice, Undo, decide
from gradebook.pipelines.curation.verdicts import Shown
from gradebook.storage.events import VERDICTS, Event, Kind, decided_labels, decisions
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import File, Sample, Split
from gradebook.storage.store import Store, memory_store, open_store
from tests.attack.rounds import current_round
from tests.forkserver import forked

CLASSES = ("crow", "heron", "owl")
SAMPLES = ("s0", "s1", "s2")
ROUNDS = 12
Way = Callable[[Store, str, Event | None, str], bool]  # store, sample, what decides it, label -> whether it was written


def fill(store: Store) -> Store:
    for name in SAMPLES:
        path = str(store.project.root / f"{name}.png")
        sample = Sample(sample_id=name, filepath=path, split=Split.TRAIN, width=1, height=1, fingerprint=bytes(200))
        store.catalog.add([sample], [File(filepath=path, sample_id=name, size=1, mtime_ns=1)])
    return store


def review_page(store: Store, sample_id: str, now: Event | None, label: str) -> bool:
    from gradebook.app.review_actions import Action, ReviewAction, apply_actions

    action = ReviewAction(
        action_id=f"{random.getrandbits(128):032x}",
        action=Action.LABEL,
        sample_id=sample_id,
        label=label,
        expected=now.event_id if now else None,
    )
    return not apply_actions(store, None, "review", [action], {}).conflicts


def evolution_page(store: Store, sample_id: str, now: Event | None, label: str) -> bool:
    from gradebook.app import review_actions

    if now is not None and now.kind in VERDICTS and random.random() < 0.5:
        return review_actions.undo_verdict(store, "evolution", now) is None
    return review_actions.decide(store, "evolution", Shown(sample_id=sample_id), label, expected=now) is None


def fiftyone_button(store: Store, sample_id: str, now: Event | None, label: str) -> bool:
    from gradebook.pipelines.fiftyone_app import actions
    from gradebook.storage.fiftyone_samples import FiftyOneSample

    seen = FiftyOneSample(
        id="",
        sample_id=sample_id,
        filepath="",
        split="train",
        label=now.label if now else None,
        decision=now.event_id if now else None,
        prediction=None,
        confidence=None,
    )
    dataset = SimpleNamespace(info={"gradebook": str(store.project.root), "run": None})
    with patch.object(actions, "read_samples", lambda *_: [seen]), patch.object(actions, "show_decisions"):
        return "meanwhile" not in actions.assign(dataset, [""], label)


def label_command(store: Store, sample_id: str, now: Event | None, label: str) -> bool:
    try:
        labelling.label_sample(store, sample_id, label)
    except ProjectError as error:
        assert "has just decided it" in str(error)
        return False
    return True


def undo_command(store: Store, sample_id: str, now: Event | None, label: str) -> bool:
    if now is None or now.kind not in VERDICTS:
        return True
    try:
        retractions.take_back(store, now.event_id, actor="undo")
    except ProjectError as error:
        assert "has just decided" in str(error) or "has already undone" in str(error)
        return False
    return True


WAYS: dict[str, Way] = {
    way.__name__: way for way in (review_page, evolution_page, fiftyone_button, label_command, undo_command)
}


def work(root: Path, name: str, result: Path) -> None:
    """Decides `ROUNDS` times, and until one verdict is written; saves the verdicts, what they saw, and conflicts."""
    store, rng, taken, conflicts = open_store(root), random.Random(f"{name} {current_round()}"), list[Any](), 0

    def slowly(store: Store, items: Any, **how: Any) -> labelling.Outcome:
        time.sleep(rng.random() / 20)  # the reviewer thinks; meanwhile the others decide
        outcome = decide(store, items, **how)
        expected = {item.event_id: item.expected for item in items}
        taken.extend((e.event_id, expected[e.event_id]) for e in outcome.taken)
        return outcome

    with patch.object(labelling, "decide", slowly), patch.object(retractions, "decide", slowly):
        for number in count():
            if number >= ROUNDS and taken:  # on busy cores the others may be first until they have finished
                break
            sample_id = rng.choice(SAMPLES)
            now = decisions(store.log.read()).get(sample_id)
            conflicts += not WAYS[name](store, sample_id, now, rng.choice(CLASSES))
    result.write_text(json.dumps({"taken": taken, "conflicts": conflicts}))


def train(root: Path, over: Path, result: Path) -> None:
    """Takes in labels as a run does that trains meanwhile; writes down what it had after each look at the log."""
    from gradebook.pipelines.training.live_labels import LabelListener

    store, taken = open_store(root), list[Any]()
    listener = LabelListener(store.log.version, lambda: decided_labels(store.log.read()), every=0)
    while True:
        is_last = over.exists()
        if listener.has_news():
            taken.append(listener.take())
        if is_last:
            break
    result.write_text(json.dumps(taken))


def test_no_verdict_is_lost_and_none_overrides_one_that_was_not_on_the_screen(tmp_path, record_property):
    store = fill(open_store(create_project(tmp_path / "project", CLASSES).root))
    with ExitStack() as block:
        running = [
            block.enter_context(forked(work, store.project.root, name, tmp_path / f"{name}.json")) for name in WAYS
        ]
        trainer = block.enter_context(forked(train, store.project.root, tmp_path / "over", tmp_path / "train.json"))
        for process in running:
            process.join()
        (tmp_path / "over").touch()
        trainer.join()
    assert [process.exitcode for process in running] == [0] * len(WAYS)
    outcomes = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in WAYS}
    record_property("attempts", len(WAYS) * ROUNDS)
    expected = {event_id: seen for one in outcomes.values() for event_id, seen in one["taken"]}
    log = store.log.read()
    assert [e.at for e in log] == sorted(e.at for e in log)
    assert [e.event_id for e in log if e.event_id not in expected] == [], "every verdict went through the one door"
    assert len(log) == len(expected), "what was acknowledged is there, once"
    for n, e in enumerate(log):
        before = decisions(log[:n]).get(e.sample_id)
        assert before is None or before.event_id == expected[e.event_id], "it was on the screen"
    seen = json.loads((tmp_path / "train.json").read_text())
    assert seen[-1] == decided_labels(log), "a run that trains has the labels that the log has"
    states = [decided_labels(log[:n]) for n in range(len(log) + 1)]
    assert all(labels in states for labels in seen), "each time it read whole verdicts, in their order"
    assert all(one["taken"] for one in outcomes.values())
    assert sum(one["conflicts"] for one in outcomes.values()) > 0, "they conflicted, and got conflicts reported"


@pytest.fixture
def store(tmp_path) -> Store:
    return fill(memory_store(create_project(tmp_path / "project", CLASSES)))


def choice(label: str | None, expected: str | None = None, sample_id: str = "s0") -> Choice:
    return Choice(shown=Shown(sample_id=sample_id), label=label, expected=expected)


def test_items_on_one_sample_build_on_each_other_and_are_written_at_once(store):
    first = choice("crow")
    second = choice("heron", first.event_id)
    back = Undo(ref=second.event_id, expected=second.event_id)
    outcome = decide(store, [first, second, back, Undo(ref=None)], actor="ada")
    assert [e.kind for e in outcome.taken] == [Kind.RELABELLED, Kind.RELABELLED, Kind.RETRACTED, Kind.RETRACTED]
    assert [e.ref for e in outcome.taken[2:]] == [second.event_id, first.event_id]
    assert (decisions(store.log.read()), store.log.version()) == ({}, 4)


def test_an_item_that_is_in_the_log_already_is_not_written_again(store):
    item = choice("crow")
    decide(store, [item], actor="ada")
    outcome = decide(store, [item, item], actor="ada")
    assert (outcome.taken, outcome.conflicts, len(store.log.read())) == ((), (), 1)


def test_a_conflict_names_what_stands_and_the_others_are_written(store):
    (theirs,) = decide(store, [choice("owl")], actor="bob").taken
    late, other = choice("crow"), choice(None, sample_id="s1")
    outcome = decide(store, [late, other], actor="ada")
    assert [(c.item, c.by) for c in outcome.conflicts] == [(late, theirs)]
    assert [e.sample_id for e in outcome.taken] == ["s1"]


def test_an_undo_is_for_ones_own_standing_verdict_that_decides(store):
    mine, theirs = choice("owl"), choice("crow", sample_id="s1")
    decide(store, [mine], actor="ada")
    decide(store, [theirs, choice("heron", mine.event_id)], actor="bob")

    def conflict(item: Undo) -> Event | None:
        (one,) = decide(store, [item], actor="ada").conflicts
        return one.by

    known = {e.event_id: e for e in store.log.read()}
    assert conflict(Undo(ref=theirs.event_id, expected=theirs.event_id)) == known[theirs.event_id], "not her own"
    assert conflict(Undo(ref=mine.event_id, expected=mine.event_id)).actor == "bob", "bob has decided it since"
    assert conflict(Undo(ref=None)) is None, "she has none that decides"
    assert conflict(Undo(ref="nothing")) is None
    back = Undo(ref=mine.event_id, expected=decisions(known.values())["s0"].event_id)
    assert len(decide(store, [back], actor="ada").taken) == 1
    again = Undo(ref=mine.event_id, expected=back.expected)
    assert conflict(again).event_id == back.event_id, "it is taken back already"


def test_a_label_that_is_no_class_is_refused_whole(store):
    with pytest.raises(ProjectError, match="'dodo' is not a class"):
        decide(store, [choice("crow"), choice("dodo", sample_id="s1")], actor="ada")
    assert store.log.read() == []
