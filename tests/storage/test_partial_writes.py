"""A write that a full disk cuts short is never acknowledged, and leaves the table as it was."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradebook.storage import log_chain, partial_writes
from gradebook.storage.events import Event, Kind, event
from gradebook.storage.log import LanceLog
from gradebook.storage.project import ProjectError


def events(number: int) -> list[Event]:
    return [event(Kind.RELABELLED, f"s{n}", "heron", actor="ada") for n in range(number)]


@contextmanager
def full_disk(space: int) -> Iterator[None]:
    """Makes the disk full for this process: no file may grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (space, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("space", range(1_000, 5_000, 500))
def test_an_append_is_whole_or_refused_wherever_the_disk_becomes_full(tmp_path: Path, space):
    log = LanceLog(tmp_path)
    log.append_now(events(3))
    try:
        with full_disk(space):
            log.append_now(events(40))
    except ProjectError as error:
        assert "the disk is full" in str(error)
        expected = 3
    else:
        expected = 43
    assert len(log.read()) == len(LanceLog(tmp_path).read()) == log.count() == expected
    log.append_now(events(2))
    assert len(LanceLog(tmp_path).read()) == expected + 2
    assert log_chain.unmatched(log_chain.read(tmp_path), log.read()) == []


def test_a_first_append_that_is_cut_short_leaves_an_empty_log(tmp_path: Path):
    log = LanceLog(tmp_path)
    with pytest.raises(ProjectError, match="the disk is full"), full_disk(2_500):
        log.append_now(events(40))
    assert (log.read(), log.count(), log_chain.missing(tmp_path, 0)) == ([], 0, 0)
    log.append_now(events(1))
    assert len(LanceLog(tmp_path).read()) == 1


def killed_write(directory: Path, cut: str, number: int = 40) -> None:
    """Appends events as a process does that is killed before it checks its write, and cuts off one of its files."""
    table = directory / "events.lance"
    known, checksums = partial_writes.list_files(table), (directory / "events.sha256").read_bytes()
    chain = {path: path.read_bytes() for path in directory.glob("*chain*")}
    LanceLog(directory).append_now(events(number))
    (file,) = (path for path in partial_writes.list_files(table) - known if path.suffix == cut)
    file.write_bytes(file.read_bytes()[:-20])
    (directory / "events.sha256").write_bytes(checksums)
    for path, content in chain.items():
        path.write_bytes(content)


@pytest.mark.parametrize("cut", [".lance", ".manifest"])
def test_a_write_that_a_kill_left_cut_short_is_taken_back_at_the_next_opening(tmp_path: Path, caplog, cut):
    log = LanceLog(tmp_path)
    saved = log.append_now(events(3))
    opened = LanceLog(tmp_path)
    opened.read()
    killed_write(tmp_path, cut)
    assert opened.read() == LanceLog(tmp_path).read() == log.read() == saved
    (record,) = caplog.records
    assert "killed while it wrote to the table events" in record.getMessage()
    log.append_now(events(2))
    assert len(LanceLog(tmp_path).read()) == 5
    assert log_chain.unmatched(log_chain.read(tmp_path), log.read()) == []


def test_a_file_that_was_damaged_after_its_write_is_not_taken_back(tmp_path: Path):
    log = LanceLog(tmp_path)
    log.append_now(events(3))
    before = partial_writes.list_files(tmp_path / "events.lance")
    log.append_now(events(3))
    (file,) = (p for p in partial_writes.list_files(tmp_path / "events.lance") - before if p.suffix == ".lance")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ProjectError, match="verify"):
        LanceLog(tmp_path).read()


def test_versions_are_taken_back_only_with_the_files_that_they_use(tmp_path: Path):
    """What a killed process left without a version that uses it is no reason to take a version back."""
    log = LanceLog(tmp_path)
    log.append_now(events(3))
    (tmp_path / "events.lance" / "data" / "half.lance").write_bytes(b"half")
    assert len(LanceLog(tmp_path).read()) == 3
    log.append_now(events(3))
    assert len(LanceLog(tmp_path).read()) == 6
