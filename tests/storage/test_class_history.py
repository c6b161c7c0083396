"""Labels follow the changes of classes, and come back when these are undone."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from gradebook.storage.class_changes import Action, ClassChange, ProjectClass, from_json, styled, to_json
from gradebook.storage.events import (
    Event,
    Kind,
    class_history,
    decisions,
    queue,
    replay,
    undecided_by_classes,
)
from gradebook.storage.run_classes import present_classes

START = datetime(2026, 1, 1, tzinfo=UTC)


class Log:
    """Events one second apart."""

    def __init__(self, *classes: str):
        self.events: list[Event] = []
        self.classes(Action.INITIAL, (), *classes)

    def label(self, sample: str, label: str | None, kind: Kind = Kind.RELABELLED) -> str:
        return self._append(kind, sample, label)

    def classes(self, action: Action, old: tuple[str, ...] = (), *new: str) -> str:
        change = ClassChange(action=action, old=old, new=tuple(ProjectClass(name=name) for name in new))
        return self._append(Kind.CLASSES, "", to_json(change))

    def undo(self, event_id: str) -> str:
        (of,) = [e for e in self.events if e.event_id == event_id]
        return self._append(Kind.RETRACTED, of.sample_id, None, event_id)

    @property
    def names(self) -> list[str]:
        return [c.name for c in class_history(self.events).classes]

    def _append(self, kind: Kind, sample: str, label: str | None, ref: str | None = None) -> str:
        n = len(self.events)
        at = START + timedelta(seconds=n)
        self.events.append(
            Event(event_id=f"{n:032x}", at=at, actor="ada", kind=kind, sample_id=sample, label=label, ref=ref)
        )
        return self.events[-1].event_id


@pytest.fixture
def log() -> Log:
    log = Log("crow", "heron", "owl")
    for sample, label in [("c", "crow"), ("h", "heron"), ("o", "owl")]:
        log.label(sample, label)
    return log


def reasons(log: Log) -> dict[str, str]:
    return {i: meaning.reason for i, meaning in undecided_by_classes(log.events).items()}


def test_a_renamed_class_keeps_its_labels_and_its_place(log):
    undo = log.classes(Action.RENAME, ("crow",), "raven")
    log.label("new", "raven")
    assert replay(log.events) == {"c": "raven", "h": "heron", "o": "owl", "new": "raven"}
    assert log.names == ["raven", "heron", "owl"]
    log.undo(undo)
    assert replay(log.events) == {"c": "crow", "h": "heron", "o": "owl", "new": "crow"}
    assert log.names == ["crow", "heron", "owl"]


def test_a_merge_joins_labels_and_its_undo_gives_each_its_own_back(log):
    undo = log.classes(Action.MERGE, ("crow", "heron"), "bird")
    log.label("new", "bird")
    assert replay(log.events) == {"c": "bird", "h": "bird", "o": "owl", "new": "bird"}
    assert log.names == ["bird", "owl"]
    log.undo(undo)
    assert replay(log.events) == {"c": "crow", "h": "heron", "o": "owl"}
    assert reasons(log) == {"new": "it was labelled bird while that was a merged class"}


def test_classes_can_be_merged_into_one_of_them(log):
    undo = log.classes(Action.MERGE, ("crow", "heron"), "heron")
    assert replay(log.events) == {"c": "heron", "h": "heron", "o": "owl"}
    log.undo(undo)
    assert replay(log.events) == {"c": "crow", "h": "heron", "o": "owl"}


def test_samples_of_a_split_class_are_undecided_until_they_are_labelled_again(log):
    undo = log.classes(Action.SPLIT, ("crow",), "crow", "raven")
    assert replay(log.events) == {"h": "heron", "o": "owl"}
    assert reasons(log) == {"c": "its class crow was split into crow and raven"}
    log.label("c", "raven")
    log.label("new", "crow")
    assert replay(log.events) == {"c": "raven", "h": "heron", "o": "owl", "new": "crow"}
    log.undo(undo)
    assert replay(log.events) == {"c": "crow", "h": "heron", "o": "owl", "new": "crow"}, "raven was a kind of crow"


def test_a_removed_class_leaves_its_samples_undecided_even_with_an_import_below(log):
    log.label("c", "owl", Kind.IMPORTED)
    undo = log.classes(Action.REMOVE, ("crow",))
    assert replay(log.events) == {"h": "heron", "o": "owl"}
    again = log.undo(undo)
    assert replay(log.events) == {"c": "crow", "h": "heron", "o": "owl"}
    log.undo(again)
    assert replay(log.events) == {"h": "heron", "o": "owl"}, "an undo can be undone"


def test_a_name_that_is_given_again_is_another_class(log):
    log.classes(Action.REMOVE, ("crow",))
    log.classes(Action.ADD, (), "crow")
    log.label("new", "crow")
    assert replay(log.events) == {"new": "crow", "h": "heron", "o": "owl"}


def test_an_old_name_that_is_written_late_means_the_renamed_class(log):
    log.classes(Action.RENAME, ("crow",), "raven")
    log.label("late", "crow", Kind.IMPORTED)
    log.classes(Action.RENAME, ("raven",), "rook")
    assert replay(log.events)["late"] == "rook"


def test_labels_that_were_never_a_class_stay_as_they_are(log):
    log.label("x", "ostrich")
    assert replay(log.events)["x"] == "ostrich"


def test_a_reordering_changes_the_order_alone(log):
    before = replay(log.events)
    log.classes(Action.ORDER, ("owl", "crow"))
    assert log.names == ["owl", "crow", "heron"]
    assert replay(log.events) == before


def test_proposals_follow_too(log):
    log.label("p", "crow", Kind.PROPOSED)
    log.label("q", "owl", Kind.PROPOSED)
    log.classes(Action.RENAME, ("crow",), "raven")
    log.classes(Action.REMOVE, ("owl",))
    assert [(e.sample_id, e.label) for e in queue(log.events)] == [("p", "raven")]


def test_neither_order_nor_repeats_matter(log):
    actions = [
        (Action.RENAME, ("crow",), "raven"),
        (Action.MERGE, ("raven", "heron"), "bird"),
        (Action.SPLIT, ("owl",), "barn owl", "tawny owl"),
        (Action.ADD, (), "swan"),
    ]
    ids = [log.classes(action, old, *new) for action, old, *new in actions]
    log.label("s", "swan")
    log.undo(ids[0])
    expected = replay(log.events)
    for seed in range(20):
        shuffled = log.events + log.events[: seed % 7]
        random.Random(seed).shuffle(shuffled)
        assert replay(shuffled) == expected


def test_the_deciding_event_is_the_same_under_its_present_name(log):
    before = decisions(log.events)["c"]
    log.classes(Action.RENAME, ("crow",), "raven")
    after = decisions(log.events)["c"]
    assert (after.event_id, after.label, before.label) == (before.event_id, "raven", "crow")


def test_a_change_survives_the_log():
    change = ClassChange(action=Action.SPLIT, old=("a",), new=(ProjectClass(name='b, "c"', color=None, key="1"),))
    assert from_json(to_json(change)) == change
    for text in ["", "{}", "[]", '{"action":"add"}', '{"action":"fly","old":[],"new":[]}']:
        with pytest.raises(ValueError):
            from_json(text)


def test_thirteen_classes_have_twelve_colors_and_digits_are_their_own_keys():
    colors = [c.color for c in styled([f"class {n}" for n in range(13)])]
    assert colors == [*range(12), None]
    assert [c.key for c in styled(["3", "1"])] == ["3", "1"]


def test_a_run_names_its_classes_as_they_are_now(log):
    log.classes(Action.RENAME, ("crow",), "raven")
    merge = log.classes(Action.MERGE, ("raven", "heron"), "bird")
    log.classes(Action.REMOVE, ("owl",))
    known = present_classes(["crow", "heron", "owl"], None, class_history(log.events))
    assert known.names == ("bird", "owl (former)")
    import numpy as np

    assert known.merge(np.array([[0.2, 0.3, 0.5]])).tolist() == [[0.5, 0.5]]
    assert "crow is bird now" in known.describe() and "owl was removed" in known.describe()
    later = present_classes(["bird", "owl"], merge, class_history(log.events))
    assert later.names == ("bird", "owl (former)")
    assert not present_classes(["bird"], merge, class_history(log.events)).have_changed


def test_outputs_have_present_names_only_where_each_has_its_own(log):
    log.classes(Action.RENAME, ("crow",), "raven")
    history = class_history(log.events)
    assert present_classes(["crow", "heron", "owl"], None, history).output_names == ["raven", "heron", "owl"]
    log.classes(Action.MERGE, ("raven", "heron"), "bird")
    history = class_history(log.events)
    assert present_classes(["crow", "heron", "owl"], None, history).output_names == ["crow", "heron", "owl"]
