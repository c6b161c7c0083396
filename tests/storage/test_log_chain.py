"""The chain over the event log shows which events were lost or changed, and nothing else."""

import shutil
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from gradebook.storage import log_chain
from gradebook.storage.events import Kind, event
from gradebook.storage.lance_tables import COMPACTION_INTERVAL
from gradebook.storage.log import LanceLog


def label(n: int):
    return event(Kind.RELABELLED, f"s{n}", "dog", actor="zoe")


def unmatched(directory: Path) -> list[int]:
    """Returns how many events each state has that the log does not begin with."""
    return [link.events for link in log_chain.unmatched(log_chain.read(directory), LanceLog(directory).read())]


@pytest.fixture
def directory(tmp_path) -> Path:
    """Of a log of five events, in three appends."""
    log = LanceLog(tmp_path)
    log.append([label(0), label(1)])
    log.append_now([label(2), label(3)])
    log.append([label(4)])
    return tmp_path


def rewritten(directory: Path, change) -> None:
    """Replaces the log's table by one of its events after a change; the chain is as it was."""
    events = change(LanceLog(directory).read())
    shutil.rmtree(directory / "events.lance")
    chain = (directory / log_chain.FILE).read_bytes()
    LanceLog(directory).append(events)
    (directory / log_chain.FILE).write_bytes(chain)


def test_an_intact_log_matches_its_chain(directory):
    assert [link.events for link in log_chain.read(directory)] == [5]
    assert unmatched(directory) == []


def test_a_log_matches_after_its_small_files_were_merged(tmp_path):
    for n in range(COMPACTION_INTERVAL + 3):
        LanceLog(tmp_path).append([label(n)])
    assert unmatched(tmp_path) == []


def test_every_kind_of_value_is_the_same_before_it_is_written_and_after_it_is_read(tmp_path):
    odd = event(
        Kind.PROPOSED,
        "größe",
        None,
        actor="run:a 'b'",
        confidence=np.float32(0.1),
        reasons={"b": 1, "a": np.float32(0.3)},
        ref="x",
    )
    elsewhere = replace(label(1), at=label(1).at.astimezone(timezone(timedelta(hours=5))))
    LanceLog(tmp_path).append([odd, elsewhere])
    assert unmatched(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda events: events[:-1],
        lambda events: events[1:],
        lambda events: [],
        lambda events: [replace(events[0], label="cat"), *events[1:]],
        lambda events: [events[1], events[0], *events[2:]],
        lambda events: [*events[:4], label(9), events[4]],
    ],
    ids=["the last is lost", "the first is lost", "all are lost", "one is changed", "two are swapped", "one is added"],
)
def test_any_changed_event_breaks_the_chain(directory, change):
    rewritten(directory, change)
    assert unmatched(directory) == [5]


def test_a_loss_is_still_detected_after_more_events(directory):
    lost = LanceLog(directory).read()
    shutil.rmtree(directory / "events.lance")
    LanceLog(directory).append([label(5), label(6)])
    assert unmatched(directory) == [5]
    LanceLog(directory).append([label(n) for n in range(7, 17)])
    assert [link.events for link in log_chain.read(directory)] == [5, 12]
    assert unmatched(directory) == [5], "ten more events do not make up for five others"
    rewritten(directory, lambda events: lost + events)
    assert unmatched(directory) == [12], "now those that came after are not where they were"


def test_events_missing_from_the_chain_are_added_by_the_next_writer(directory):
    chain = (directory / log_chain.FILE).read_bytes()
    LanceLog(directory).append([label(5)])
    (directory / log_chain.FILE).write_bytes(chain)
    assert unmatched(directory) == []
    LanceLog(directory).append([label(6)])
    assert [link.events for link in log_chain.read(directory)] == [7]
    (directory / log_chain.FILE).unlink()
    assert unmatched(directory) == []
    LanceLog(directory).append([label(7)])
    assert [link.events for link in log_chain.read(directory)] == [8]
    assert unmatched(directory) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", "[1]", '[{"events": 5}]'])
def test_an_unreadable_chain_is_rebuilt(directory, content):
    (directory / log_chain.FILE).write_text(content)
    assert unmatched(directory) == []
    LanceLog(directory).append([label(5)])
    assert [link.events for link in log_chain.read(directory)] == [6]
    assert unmatched(directory) == []


def test_a_chain_that_cannot_be_written_does_not_fail_the_append(directory, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(log_chain, "write_json", full)
        LanceLog(directory).append([label(5)])
    assert len(LanceLog(directory).read()) == 6 and unmatched(directory) == []
