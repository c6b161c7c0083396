"""A write that a full disk cuts short is never acknowledged, and leaves the table as it was."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradebook.storage import log_chain
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
