from datetime import UTC, datetime, timedelta

import pytest

from gradebook.app.review_actions import class_keys, sitting
from gradebook.pipelines.curation.event_cache import EventCache, grown
from gradebook.storage.events import Kind, event, retraction


def test_digits_as_class_names_are_their_own_keys():
    assert class_keys(["0", "1", "7"]) == {"0": "0", "1": "1", "7": "7"}
    assert class_keys(["cat", "7"]) == {"1": "cat", "2": "7"}


@pytest.mark.parametrize("classes", [3, 9, 10, 27, 36, 100])
def test_classes_have_digits_then_letters_and_none_has_a_key_of_the_pages_own(classes):
    names = [f"class {k}" for k in range(classes)]
    keys = class_keys(names)
    assert list(keys.values()) == names[:27], "the others are typed"
    assert list(keys)[:9] == list("123456789")[:classes]
    assert set("uskxhlcr").isdisjoint(keys)


def test_a_sitting_ends_with_a_long_pause_and_counts_what_stands():
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    before = [said(now - timedelta(minutes=m), f"s{m}", Kind.RELABELLED) for m in (60, 55)]
    guess = event(Kind.PROPOSED, "g", "crow", actor="run:r")
    since = [
        said(now - timedelta(minutes=9), "a", Kind.ACCEPTED, ref=guess.event_id),
        said(now - timedelta(minutes=5), "b", Kind.RELABELLED, ref=guess.event_id),
        said(now - timedelta(minutes=1), "c", Kind.RELABELLED),
        said(now - timedelta(minutes=1), "d", Kind.RELABELLED, actor="bob"),
        gone := said(now - timedelta(minutes=1), "e", Kind.RELABELLED),
        retraction(gone, actor="ada"),
    ]
    found = sitting(grown(EventCache(), [*before, *since]), "ada", now=now)
    assert (found.given, found.guessed, found.agreed) == (3, 2, 1)
    assert found.a_minute == pytest.approx(2 / 8)
    assert sitting(EventCache(), "ada").given == 0
    assert sitting(grown(EventCache(), since), "ada", now=now + timedelta(hours=1)).given == 0


def said(at, sample_id, kind, *, actor="ada", ref=None):
    from dataclasses import replace

    return replace(event(kind, sample_id, "crow", actor=actor, ref=ref), at=at)
