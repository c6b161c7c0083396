"""One contract for every log, and the folds over what comes back."""

import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradebook.storage.events import Event, Kind, event, queue, replay
from gradebook.storage.log import EventLog, LanceLog, MemoryLog
from tests.forkserver import FORKS, forked
from tests.kill_workers import tell


@pytest.fixture(params=["memory", "lance"])
def log(request, tmp_path) -> EventLog:
    return {"memory": MemoryLog, "lance": lambda: LanceLog(tmp_path)}[request.param]()


def proposal(sample_id: str) -> Event:
    reasons = {"thin_margin": 0.1 + 0.2, 'it\'s "odd"': 1.0}
    return event(Kind.PROPOSED, sample_id, "cat", actor="run:mpl-001", confidence=1 / 3, reasons=reasons)


def test_an_empty_log_is_empty(log):
    log.append([])
    assert log.read() == []
    assert log.version() == log.version()


def test_events_come_back_exactly_and_in_order(log):
    first = proposal("s0")
    second = event(Kind.RELABELLED, "s0", "naïve 'dog'", actor="Zoë", ref=first.event_id)
    third = event(Kind.REJECTED, "s1", actor="Zoë")
    log.append([first])
    log.append([second, third])
    assert log.read() == [first, second, third]
    assert log.read()[0].reasons == first.reasons
    assert log.read()[0].at.tzinfo is UTC


def test_the_newest_events_can_be_read_without_the_others(log):
    """What the app does after each press, also across a merging of small files."""
    events = [proposal(f"s{n}") for n in range(70)]
    for n, one in enumerate(events):
        log.append([one])
        assert log.read(n) == [one]
    assert log.read(60) == events[60:]
    assert log.read(0) == events
    assert log.read(70) == log.read(99) == []


def test_the_version_grows_with_every_append(log):
    versions = [log.version()]
    for _ in range(3):
        log.append([proposal("s0")])
        versions.append(log.version())
    assert versions == sorted(set(versions))
    log.append([])
    assert log.version() == versions[-1]


def test_a_time_without_a_zone_is_refused_and_nothing_is_written(log):
    naive = Event(event_id="e", at=datetime(2026, 1, 1), actor="a", kind=Kind.REJECTED, sample_id="s")
    with pytest.raises(ValueError, match="without a time zone"):
        log.append([proposal("s0"), naive])
    assert log.read() == []


def test_a_time_in_another_zone_is_the_same_time(log):
    at = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    log.append([Event(event_id="e", at=at, actor="a", kind=Kind.REJECTED, sample_id="s")])
    assert log.read()[0].at == at


def test_new_events_of_every_kind_follow_an_event_ahead_of_the_clock(log):
    ahead = replace(event(Kind.RELABELLED, "s0", "cat", actor="zoe"), at=datetime.now(UTC) + timedelta(minutes=10))
    log.append([ahead])
    new = [event(kind, "s0", "dog", actor="abe", ref=ahead.event_id) for kind in Kind]
    stored = log.append_now(new[:2]) + log.append_now(new[2:])
    assert log.read() == [ahead, *stored]
    assert [e.at - ahead.at for e in stored] == [timedelta(microseconds=n + 1) for n in range(len(new))]
    assert [replace(e, at=old.at) for e, old in zip(stored, new, strict=True)] == new, "nothing else changes"


def test_new_events_keep_their_times_where_these_are_in_order(log):
    events = [replace(proposal("s0"), at=datetime(2026, 1, day, tzinfo=UTC)) for day in (1, 2, 3)]
    assert log.append_now([]) == []
    assert log.append_now(events[:1]) == events[:1]
    assert log.append_now(events[1:]) == events[1:]
    assert log.read() == events


def test_the_last_event_is_the_latest_and_not_the_last_row(log):
    """A log that was copied from two machines need not be in order of time."""
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (3, 1)]
    log.append([replace(proposal("s0"), at=day) for day in days])
    (new,) = log.append_now([replace(proposal("s1"), at=datetime(2026, 1, 2, tzinfo=UTC))])
    assert new.at == days[0] + timedelta(microseconds=1)


def test_new_events_follow_those_of_another_process(tmp_path):
    log, other = LanceLog(tmp_path), LanceLog(tmp_path)
    day = datetime(2100, 1, 1, tzinfo=UTC)
    log.append_now([proposal("s0")])
    other.append([replace(proposal("s1"), at=day)])
    log.append_now([proposal("s2")])
    other.append_now([proposal("s3")])
    assert [e.at - day for e in log.read()[2:]] == [timedelta(microseconds=1), timedelta(microseconds=2)]


kinds = st.sampled_from([Kind.PROPOSED, Kind.ACCEPTED, Kind.RELABELLED, Kind.REJECTED, Kind.IMPORTED])
rows = st.lists(st.tuples(kinds, st.sampled_from(["s0", "s1"]), st.sampled_from(["cat", "dog"])), max_size=6)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows, random=st.randoms(use_true_random=False))
def test_appending_in_another_order_and_twice_folds_to_the_same(request, tmp_path_factory, rows, random):
    events = [event(kind, sample_id, label, actor="a") for kind, sample_id, label in rows]
    shuffled = events + random.sample(events, len(events) // 2)
    random.shuffle(shuffled)
    for log in (MemoryLog(), LanceLog(tmp_path_factory.mktemp("log"))):
        for e in shuffled:
            log.append([e])
        assert replay(log.read()) == replay(events)
        assert queue(log.read()) == queue(events)


def test_another_process_sees_what_was_appended_and_its_own_rows_are_seen(tmp_path):
    log = LanceLog(tmp_path)
    log.append([proposal("s0")])
    before = log.version()
    with forked(_reject_the_next, tmp_path) as other:
        other.join()
        assert other.exitcode == 0
    assert [e.sample_id for e in log.read()] == ["s0", "s1"]
    assert log.version() > before


def _reject_the_next(directory: Path) -> None:
    log = LanceLog(directory)
    log.append([event(Kind.REJECTED, f"s{len(log.read())}", actor="other")])


def test_killing_a_writer_splits_no_batch_and_loses_nothing_acknowledged(tmp_path):
    heard, done = FORKS.Pipe(duplex=False)
    with forked(_import_without_end, tmp_path, done) as writer:
        done.close()
        assert heard.poll(100)
        time.sleep(0.3)
        writer.kill()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
    with os.fdopen(os.dup(heard.fileno())) as acknowledgements:
        acknowledged = max(int(line) for line in acknowledgements if line.endswith("\n"))
    log = LanceLog(tmp_path)
    batches = [e.sample_id for e in log.read()]
    assert all(batches.count(str(n)) == 10 for n in range(acknowledged + 1))
    assert len(batches) % 10 == 0
    log.append([proposal("after")])  # the dead writer's lock is free
    assert len(log.read()) == len(batches) + 1


def _import_without_end(directory: Path, done: Connection) -> None:
    """Appends ten events at a time; tells the number of each batch that is there."""
    log = LanceLog(directory)
    for batch in count():
        log.append([event(Kind.IMPORTED, f"{batch}", "cat", actor="import") for _ in range(10)])
        tell(done, f"{batch}")


@pytest.mark.slow
def test_many_small_appends_leave_few_files(tmp_path):
    log = LanceLog(tmp_path)
    for _ in range(140):
        log.append([proposal("s0")])
    assert len(log.read()) == 140
    table = log._tables.open("events")
    assert table is not None
    assert table.stats()["fragment_stats"]["num_fragments"] < 40


def test_only_copies_of_another_log_are_added_with_their_own_times():
    """Everything else is new, and must follow what is in the log: `append_now`."""
    root = Path(__file__).parents[2]
    sources = [path for folder in ("app", "pipelines") for path in (root / folder).rglob("*.py")]
    copying = {str(path.relative_to(root)) for path in sources if "log.append(" in path.read_text(encoding="utf-8")}
    assert copying == {"pipelines/studies/active_learning.py"}
