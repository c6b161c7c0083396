"""The audit log, and undo by event id."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from gradebook.pipelines.curation.retractions import take_back
from gradebook.pipelines.reporting.audit_log import audit_log_table, read_audit_log
from gradebook.storage.events import Event, Kind, event, replay
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import File, Sample, Split
from gradebook.storage.store import Store, memory_store, open_store


@pytest.fixture(params=["memory", "lance"])
def store(request, tmp_path) -> Store:
    project = create_project(tmp_path / "project", ["cat", "dog"])
    store = memory_store(project) if request.param == "memory" else open_store(project.root)
    for name in ("s0", "s1"):
        path = str(tmp_path / f"{name}.png")
        sample = Sample(sample_id=name, filepath=path, split=Split.TRAIN, width=1, height=1, fingerprint=bytes(200))
        store.catalog.add([sample], [File(filepath=path, sample_id=name, size=1, mtime_ns=1)])
    return store


def append(store: Store, *events: Event) -> None:
    for e in events:
        store.log.append([e])


def test_events_come_newest_first_with_their_actor_and_sample(store, tmp_path):
    imported = event(Kind.IMPORTED, "s1", "cat", actor="import")
    proposal = event(Kind.PROPOSED, "s0", "dog", actor="run:mpl-001", confidence=0.75, reasons={"flips": 0.5})
    verdict = event(Kind.ACCEPTED, "s0", "dog", actor="zoe", ref=proposal.event_id)
    append(store, verdict, imported, proposal)
    rows = read_audit_log(store)
    assert [(row.event.kind, row.event.actor) for row in rows] == [
        (Kind.ACCEPTED, "zoe"),
        (Kind.PROPOSED, "run:mpl-001"),
        (Kind.IMPORTED, "import"),
    ]
    assert rows[0].filepath == str(tmp_path / "s0.png")
    assert [row.event for row in read_audit_log(store, "s1")] == [row.event for row in rows[2:]]
    assert read_audit_log(store, str(tmp_path / "s0.png"))[0] == rows[0]
    assert read_audit_log(store, actor="zoe", limit=5) == rows[:1]
    assert read_audit_log(store, limit=2) == rows[:2]
    payload = json.loads(json.dumps(rows[1].as_json()))
    assert (payload["kind"], payload["reasons"], payload["undone_by"]) == ("proposed", {"flips": 0.5}, None)


def test_undo_appends_an_event_and_restores_the_decision_before_it(store):
    first, second = (event(Kind.RELABELLED, "s0", name, actor="zoe") for name in ("cat", "dog"))
    append(store, first, second)
    row = take_back(store, second.event_id, actor="abe")
    assert replay(store.log.read()) == {"s0": "cat"}
    assert [e.event_id for e in store.log.read()] == [first.event_id, second.event_id, row.event_id]
    top, undone, _ = read_audit_log(store)
    assert (top.event.kind, top.event.actor, top.event.ref) == (Kind.RETRACTED, "abe", second.event_id)
    assert undone.undone_by == row.event_id
    assert "[undone]" in audit_log_table([undone]) and "[undone]" not in audit_log_table([top])
    take_back(store, row.event_id, actor="zoe")
    assert replay(store.log.read()) == {"s0": "dog"}, "an undo can be undone"


def test_undo_holds_even_after_the_clock_was_set_back(store):
    later = event(Kind.RELABELLED, "s0", "cat", actor="zoe")
    later = replace(later, at=later.at + timedelta(hours=1))
    append(store, later)
    take_back(store, later.event_id, actor="zoe")
    assert replay(store.log.read()) == {}


def test_the_error_says_why_an_event_cannot_be_undone(store):
    verdict = event(Kind.REJECTED, "s0", actor="zoe")
    imported = event(Kind.IMPORTED, "s1", "cat", actor="import")
    proposal = event(Kind.PROPOSED, "s1", "dog", actor="run:mpl-001")
    append(store, verdict, imported, proposal)
    row = take_back(store, verdict.event_id, actor="zoe")
    for event_id, sentence in (
        ("nothing", "there is no event 'nothing' in the log: gradebook log"),
        (verdict.event_id, f"zoe has already undone {verdict.event_id}.*gradebook undo .* {row.event_id}"),
        (imported.event_id, "at an import.*--sample s1 --label"),
        (proposal.event_id, "a proposal of run:mpl-001"),
    ):
        with pytest.raises(ProjectError, match=sentence):
            take_back(store, event_id, actor="zoe")
    assert len(store.log.read()) == 4


def test_an_unknown_actor_or_sample_is_a_one_line_error(store):
    append(store, event(Kind.RELABELLED, "s0", "cat", actor="zoe"))
    with pytest.raises(ProjectError, match=r"there is no actor 'abe' in the log of .*: choose one of zoe"):
        read_audit_log(store, actor="abe")
    with pytest.raises(ProjectError, match="neither a sample's id nor"):
        read_audit_log(store, "nothing")
    assert read_audit_log(store, "s1") == []
    assert audit_log_table([]) == "No events yet."


def test_an_event_of_a_sample_missing_from_the_catalogue_is_still_shown(store):
    append(store, event(Kind.RELABELLED, "lost", "cat", actor="zoe"))
    (row,) = read_audit_log(store)
    assert row.filepath == "" and "lost" in audit_log_table([row])
