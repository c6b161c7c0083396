"""Nothing is lost by kill -9, by two who write at once, or by a full disk."""

import os
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.maintenance.verify import verify
from gradebook.storage import lance_tables
from gradebook.storage.events import VERDICTS, Event, Kind, event, replay
from gradebook.storage.log import LanceLog
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.record import MemoryRecord
from gradebook.storage.store import Store, memory_store, open_store
from tests import kill_workers
from tests.attack.rounds import current_round, in_round
from tests.forkserver import FORKS

pytestmark = pytest.mark.slow

SEED = 20261121
ROUNDS = 11  # times five processes: 55 kills
WAIT = 0.25  # seconds at most from the last one's start to a kill
REVIEW, TRAIN = 0, 1  # their numbers among the five
AFTER_A_KILL = {"samples_have_files", "status", "drafts", "history"}  # what verify may then find, and repairs


def start(*works: tuple[Any, ...]) -> list[tuple[BaseProcess, Connection]]:
    """Starts processes, each a function and what it is given, and returns when all are ready."""
    started = []
    for work, *given in works:
        heard, done = FORKS.Pipe(duplex=False)
        process = FORKS.Process(target=work, args=(*given, done), daemon=True)
        process.start()
        done.close()
        started.append((process, heard))
    for _, heard in started:
        assert heard.poll(60) and os.read(heard.fileno(), 6) == b"ready\n"
    return started


def killed(process: BaseProcess, heard: Connection) -> list[str]:
    """Kills a process, which must still be at work, and returns what it had acknowledged until then."""
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it ended by itself"
    output = b""
    while part := os.read(heard.fileno(), 65536):
        output += part
    heard.close()
    return output.decode().split()


def pictures(folder: Path, first: int, number: int = 12) -> Path:
    for n in range(first, first + number):
        path = folder / kill_workers.CLASSES[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (6, 6, 3), np.uint8)).save(path)
    return folder


def verdicts(events: list[Event]) -> list[Event]:
    return [e for e in events if e.kind in VERDICTS]


def check_reviews(store: Store, acknowledged: set[str], kills: int) -> None:
    """Acknowledged verdicts are there once and whole; beyond them there is at most one for each kill."""
    events = store.log.read()
    assert max(Counter(e.event_id for e in events).values()) == 1
    ids = {e.event_id for e in verdicts(events)}
    assert acknowledged <= ids and len(ids - acknowledged) <= kills
    proposals = {e.event_id for e in events if e.kind is Kind.PROPOSED}
    assert proposals == {e.ref for e in verdicts(events)}, "a verdict and what was shown come together"


def check_record(store: Store, step: int) -> None:
    """Every step up to the acknowledged one is there once, in the segments and in the table they are folded into."""
    directory = store.project.runs / "endless" / "record"
    fresh = MemoryRecord()
    fresh.fold("endless", directory)
    store.record.fold("endless", directory)
    for sample in (kill_workers.SAMPLES[0], kill_workers.SAMPLES[-1]):
        steps = [row["step"] for row in fresh.history(sample)]
        assert steps == list(range(1, len(steps) + 1)) and len(steps) >= step
        assert store.record.history(sample) == fresh.history(sample)
    assert store.record.dynamics("endless") == fresh.dynamics("endless")


def test_kill_9_at_random_moments_loses_and_duplicates_nothing(tmp_path, record_property):
    """Five processes work on one project at once, and each is killed at its own random moment, again and again."""
    store = open_store(create_project(tmp_path / "project", kill_workers.CLASSES).root)
    root, draw, acknowledged, step, kills = store.project.root, random.Random(SEED + current_round()), set[str](), 0, 0
    import_images(store, pictures(tmp_path / "images" / "start", 0), labels="folders")
    kill_workers.begin(root)
    for n in range(1, in_round(ROUNDS) + 1):
        images = pictures(tmp_path / "images" / str(n), 100 * n)
        living = start(
            (kill_workers.review, root, n),
            (kill_workers.train, root, step),
            (kill_workers.import_again, root, images),
            (kill_workers.fold, root, n),
            (kill_workers.compact, root, n),
        )
        dying = sorted((draw.uniform(0, WAIT), number) for number in range(len(living)))
        outputs: dict[int, list[str]] = {}
        for (before, _), (moment, number) in zip([(0.0, 0), *dying], dying, strict=False):
            time.sleep(moment - before)
            outputs[number] = killed(*living[number])
        kills += len(outputs)
        acknowledged |= set(outputs[REVIEW])
        step = max([step, *map(int, outputs[TRAIN])])
        check_reviews(store, acknowledged, n)
        assert {finding.check for finding in verify(root).findings} <= AFTER_A_KILL
        assert verify(root, repair=True).findings == ()
        check_record(store, step)
    record_property("attempts", kills)
    assert kills == 5 * in_round(ROUNDS) and len(acknowledged) > n and step > n, "there was something to lose"
    whole = memory_store(create_project(tmp_path / "whole", kill_workers.CLASSES))
    for one in (store, whole):
        import_images(one, tmp_path / "images", labels="folders")
    assert set(store.catalog.files()) == set(whole.catalog.files())
    assert {s.sample_id for s in store.catalog.samples()} == {s.sample_id for s in whole.catalog.samples()}
    imported = [e for e in store.log.read() if e.kind is Kind.IMPORTED]
    assert replay(imported) == replay(whole.log.read()) and len(imported) == len(whole.log.read())
    assert verify(root, content=True).findings == ()


def test_two_concurrent_reviewers_lose_no_verdict(tmp_path):
    store = open_store(create_project(tmp_path / "project", kill_workers.CLASSES).root)
    import_images(store, pictures(tmp_path / "images", 0))
    both = start(*((kill_workers.review, store.project.root, seed) for seed in (1, 2)))
    assert all(heard.poll(60) for _, heard in both), "each has its turn, however long the other is quicker"
    time.sleep(1)
    acknowledged = [killed(*one) for one in both]
    check_reviews(store, {event_id for one in acknowledged for event_id in one}, 2)
    assert verify(store.project.root).findings == ()


@pytest.fixture
def full_disk() -> Iterator[Callable[[bool], None]]:
    """Makes every disk full for this process, and gives the space back: no file may grow, not even from nothing."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(full: bool) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]) if full else limits)

    yield fill
    fill(False)


def test_a_full_disk_is_a_one_line_error_and_loses_nothing(tmp_path, full_disk):
    root = create_project(tmp_path / "project", kill_workers.CLASSES).root
    store, images = open_store(root), pictures(tmp_path / "images", 0)
    import_images(store, images)
    first, second = (event(Kind.RELABELLED, i, "dog", actor="zoe") for i in store.catalog.ids()[:2])
    store.log.append([first])
    new = pictures(tmp_path / "new", 100)
    full_disk(True)
    for write in (
        lambda: store.log.append([second]),
        lambda: import_images(store, new, labels="folders"),
        lambda: LanceLog(tmp_path / "fresh").append([second]),
    ):
        with pytest.raises(ProjectError, match=r"the disk is full, so .* cannot be written: free some space"):
            write()
    assert store.log.read() == [first]
    full_disk(False)
    assert verify(root).findings == ()
    store.log.append([second])
    assert import_images(store, new, labels="folders").imported == 12
    assert store.log.read()[:2] == [first, second]
    assert verify(root, content=True).findings == ()


def test_a_full_disk_during_compaction_does_not_fail_the_append(tmp_path, monkeypatch):
    monkeypatch.setattr(lance_tables, "COMPACTION_INTERVAL", 2)
    log = LanceLog(tmp_path)
    log.append([event(Kind.REJECTED, "s0", actor="zoe")])

    def full(*_args, **_options):
        raise RuntimeError("lance error: LanceError(IO): No space left on device (os error 28), /cargo/x.rs:1:1")

    monkeypatch.setattr("lancedb.table.LanceTable.optimize", full)
    for n in range(4):
        log.append([event(Kind.REJECTED, f"s{n}", actor="zoe")])
    assert len(log.read()) == 5
