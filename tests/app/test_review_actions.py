import uuid
from datetime import UTC, datetime, timedelta

import pytest

from gradebook.app.review_actions import (
    Action,
    ReviewAction,
    apply_actions,
    class_keys,
    describe_failures,
    session_stats,
)
from gradebook.pipelines.curation.class_changes import change_classes, rename
from gradebook.pipelines.curation.event_cache import EventCache, extend
from gradebook.storage.class_changes import styled
from gradebook.storage.events import Kind, event, replay, retraction
from gradebook.storage.project import read_project


def test_digits_as_class_names_are_their_own_keys():
    assert class_keys(styled(["0", "1", "7"])) == {"0": "0", "1": "1", "7": "7"}
    assert class_keys(styled(["cat", "7"])) == {"1": "cat", "2": "7"}


@pytest.mark.parametrize("classes", [3, 9, 10, 27, 36, 100])
def test_classes_have_digits_then_letters_but_no_key_of_the_page(classes):
    names = [f"class {k}" for k in range(classes)]
    keys = class_keys(styled(names))
    assert list(keys.values()) == names[:27], "the others are typed"
    assert list(keys)[:9] == list("123456789")[:classes]
    assert set("uskxhlcr").isdisjoint(keys)


def test_labels_that_were_written_together_give_no_pace():
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    table = [verdict(now + timedelta(microseconds=n), f"s{n}", Kind.RELABELLED) for n in range(26)]
    assert session_stats(extend(EventCache(), table), "ada", now=now).per_minute is None
    typed = verdict(now + timedelta(minutes=2), "t", Kind.RELABELLED)
    assert session_stats(extend(EventCache(), [*table, typed]), "ada", now=now).per_minute == pytest.approx(0.5)


def test_labels_of_similar_images_are_no_predictions_of_a_model():
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    proposals = [
        event(Kind.PROPOSED, "a", "crow", actor="run:r", reasons={"flips": 1.0}),
        event(Kind.PROPOSED, "b", "crow", actor="ada", reasons={"alike": 0.9}),
        event(Kind.PROPOSED, "c", "crow", actor="ada", reasons={"alike": 0.9}),
    ]
    kinds = (Kind.RELABELLED, Kind.ACCEPTED, Kind.RELABELLED)
    answers = [verdict(now, e.sample_id, kind, ref=e.event_id) for e, kind in zip(proposals, kinds, strict=True)]
    stats = session_stats(extend(EventCache(), [*proposals, *answers]), "ada", now=now)
    assert (stats.predicted, stats.correct, stats.similar, stats.similar_correct) == (1, 0, 2, 1)


def test_a_session_ends_with_a_long_pause_and_counts_valid_verdicts():
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    before = [verdict(now - timedelta(minutes=m), f"s{m}", Kind.RELABELLED) for m in (60, 55)]
    prediction = event(Kind.PROPOSED, "g", "crow", actor="run:r")
    since = [
        verdict(now - timedelta(minutes=9), "a", Kind.ACCEPTED, ref=prediction.event_id),
        verdict(now - timedelta(minutes=5), "b", Kind.RELABELLED, ref=prediction.event_id),
        verdict(now - timedelta(minutes=1), "c", Kind.RELABELLED),
        verdict(now - timedelta(minutes=1), "d", Kind.RELABELLED, actor="bob"),
        gone := verdict(now - timedelta(minutes=1), "e", Kind.RELABELLED),
        retraction(gone, actor="ada"),
    ]
    stats = session_stats(extend(EventCache(), [*before, *since]), "ada", now=now)
    assert (stats.verdicts, stats.predicted, stats.correct) == (3, 2, 1)
    assert stats.per_minute == pytest.approx(2 / 8)
    assert session_stats(EventCache(), "ada").verdicts == 0
    assert session_stats(extend(EventCache(), since), "ada", now=now + timedelta(hours=1)).verdicts == 0


def verdict(at, sample_id, kind, *, actor="ada", ref=None):
    from dataclasses import replace

    return replace(event(kind, sample_id, "crow", actor=actor, ref=ref), at=at)


def label(sample_id: str, name: str, **more) -> ReviewAction:
    return ReviewAction(action_id=uuid.uuid4().hex, action=Action.LABEL, sample_id=sample_id, label=name, **more)


def test_an_action_can_create_its_class(context, ids):
    outcome = apply_actions(context.store, None, "ada", [label(i, "wren", create=True) for i in ids[:2]], {})
    assert not outcome.invalid
    assert [replay(context.store.log.read())[i] for i in ids[:2]] == ["wren", "wren"]
    assert read_project(context.store.project.root).classes[-1] == "wren"


def test_a_verdict_that_cannot_be_saved_says_why(context, ids):
    change_classes(context.store, rename("crow", "raven"), actor="bob")
    actions = [label(ids[0], "crow"), label(ids[1], "a\nb", create=True), label(ids[2], "ostrich")]
    (old, blank, unknown) = describe_failures(apply_actions(context.store, None, "ada", actions, {}))
    assert old["text"] == "Your verdict (crow) was not saved: crow (it is raven now)."
    assert "line break" in blank["text"] and "ostrich is no class of the project" in unknown["text"]
