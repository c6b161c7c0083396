"""Measures a live session on random vectors: the delay from verdict to snapshot, and the cost of idling.

    python -m benchmarks.session --samples 2000

Makes a project without images, starts `gradebook session`, gives one verdict after the other, and measures the time
until a snapshot includes it, and until the queue is ranked by that snapshot. Then it waits until the session sleeps,
measures its CPU time, and stops it.

    python -m benchmarks.session --samples 10000 --stages

measures instead, in this process, the CPU time of each stage between a verdict and the ranked queue, and the memory.
Unlike the time that passes, it hardly depends on what else the machine does.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from gradebook.pipelines.curation.review_queue import rank
from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.runs import Run, newest_finished
from gradebook.pipelines.session.lock import Phase
from gradebook.pipelines.session.log_reader import LogReader
from gradebook.pipelines.session.status import LiveStatus, live_status
from gradebook.pipelines.session.stop import stop_session
from gradebook.pipelines.studies.command_line import machine
from gradebook.storage.events import Kind, event
from gradebook.storage.project import create_project
from gradebook.storage.samples import Sample, Split, sample_id
from gradebook.storage.store import Store, open_store
from gradebook.storage.vectors import Space

BACKBONE = "drawn"
WEAK, STRONG = 2, 2  # views
TIMEOUT_S = 900.0
POLL_INTERVAL_S = 0.02
BATCH = 2000  # samples whose vectors are written at once


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTime:
    """Options of the benchmark."""

    samples: int = 2000
    """Number of images."""
    classes: int = 10
    """Number of classes."""
    features: int = 1280
    """Features of a vector, as many as those of the default backbone."""
    labels: int = 40
    """Labels at the start."""
    verdicts: int = 10
    """Verdicts whose time is measured."""
    pause: float = 2.0
    """Seconds between a snapshot and the next verdict."""
    idle: float = 30.0
    """Seconds of sleep whose CPU time is measured."""
    stages: bool = False
    """Measure the CPU time of each stage in this process."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit status."""
    import tyro

    silence_libraries()
    options = tyro.cli(SessionTime, args=arguments, prog="python -m benchmarks.session", description=__doc__)
    with tempfile.TemporaryDirectory() as root:
        store, truth = make_project(Path(root) / "project", options)
        if options.stages:
            print_stages(store, truth, options)
            return 0
        command = [sys.executable, "-P", "-m", "gradebook.pipelines.cli.main", "session", str(store.project.root)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            start = time.perf_counter()
            wait_until(store, is_up_to_date)
            first = time.perf_counter() - start
            known, ranked = _time_verdicts(store, truth, options)
            wait_until(store, lambda status: status.session.phase is Phase.IDLE)
            share = _cpu_share(process.pid, options.idle)
            start = time.perf_counter()
            stop_session(store.project)
            end = time.perf_counter() - start
    print(_heading(options))
    print(f"first snapshot {first:.1f} s after the command; from a verdict, median and largest of {len(known)}:")
    print(f"  to a snapshot that includes it  {_summary(known)}")
    print(f"  and to its first 20 images   {_summary(ranked)}")
    print(f"CPU time while idle {share:.2%} of one core; end of the session {end:.1f} s")
    return 0


def _heading(options: SessionTime) -> str:
    size = f"{options.samples} samples, {options.features} features, {options.classes} classes"
    return f"{size}; {date.today()}, {machine()}"


def print_stages(store: Store, truth: dict[str, str], options: SessionTime) -> None:
    """Prints the median CPU seconds of each stage between a verdict and the ranked queue, on one thread."""
    import torch

    from gradebook.pipelines.session import session_run, trainer

    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {}
    reader = LogReader(store)
    reader.read()
    with _timed("beginning", seconds):
        session = session_run.begin(store, session_run.new_config(store, "mpl", 0), reader)
    with _timed("first burst", seconds):
        trainer.train_burst(session)
    with _timed("first snapshot", seconds):
        trainer.publish(session)
    for _ in range(options.verdicts):
        row = rank(store, Run(session.state.path), limit=20, spread=True)[0]
        store.log.append_now([event(Kind.RELABELLED, row.sample_id, truth[row.sample_id], actor="reviewer")])
        with _timed("from a verdict to the ranked queue", seconds):
            with _timed("  reading the log", seconds):
                session_run.take_labels(session, at_once=True)
            with _timed("  burst", seconds):
                trainer.train_burst(session)
            with _timed("  snapshot", seconds), _publisher_timed(seconds):
                trainer.publish(session)
            with _timed("  ranking", seconds):
                rank(store, Run(session.state.path), limit=100, spread=True)
    session.state.recorder.close()
    print(_heading(options))
    print("CPU seconds, median:")
    for stage, values in seconds.items():
        print(f"  {stage:40} {statistics.median(values):6.2f}")
    print(f"memory {psutil.Process().memory_info().rss / 2**30:.2f} GiB")


@contextmanager
def _timed(stage: str, seconds: dict[str, list[float]]) -> Iterator[None]:
    """Adds the CPU time of the block to those of a stage."""
    values, start = seconds.setdefault(stage, []), time.process_time()
    yield
    values.append(time.process_time() - start)


@contextmanager
def _publisher_timed(seconds: dict[str, list[float]]) -> Iterator[None]:
    """Times the parts of a snapshot while the block runs."""
    from unittest.mock import patch

    from gradebook.pipelines.curation import reason_cache
    from gradebook.pipelines.session import publisher

    parts = {
        "    predictions of both networks": (publisher, "_opinions"),
        "    pooled classifier": (publisher.Publisher, "_fit"),
        "    writing the predictions": (publisher, "write_table"),
        "    evidence": (publisher.Publisher, "_known"),
        "    reasons": (reason_cache, "compute_table"),
    }

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            with _timed(stage, seconds):
                return function(*arguments, **more)

        return call

    with ExitStack() as patches:
        for stage, (place, name) in parts.items():
            patches.enter_context(patch.object(place, name, timed(stage, getattr(place, name))))
        yield


def make_project(root: Path, options: SessionTime) -> tuple[Store, dict[str, str]]:
    """Makes a project with vectors around a centre for each class and no images; returns it and the true classes."""
    random = np.random.default_rng(0)
    store = open_store(create_project(root, [f"class {k}" for k in range(options.classes)]).root)
    truth = random.integers(0, options.classes, options.samples)
    samples = [
        Sample(
            sample_id=sample_id(str(n).encode()),
            filepath=str(root / f"{n:06}.jpg"),
            split=Split.TRAIN,
            width=64,
            height=64,
            fingerprint=random.bytes(200),
        )
        for n in range(options.samples)
    ]
    store.catalog.add(samples, [])
    space = Space(backbone=BACKBONE, weights="none", size=64, dim=options.features, weak=WEAK, strong=STRONG, seed=0)
    store.vectors.create(space)
    centres = random.normal(size=(options.classes, options.features)).astype(np.float32)
    for start in range(0, options.samples, BATCH):
        rows = centres[truth[start : start + BATCH]][:, None]
        noise = random.normal(scale=6.0, size=(len(rows), 1, options.features))
        views = rows + noise + random.normal(scale=1.0, size=(len(rows), WEAK + STRONG, options.features))
        store.vectors.add(BACKBONE, [s.sample_id for s in samples[start : start + BATCH]], views.astype(np.float16))
    names = {s.sample_id: store.project.classes[k] for s, k in zip(samples, truth.tolist(), strict=True)}
    given = [event(Kind.IMPORTED, s.sample_id, names[s.sample_id], actor="import") for s in samples[: options.labels]]
    store.log.append(given)
    return store, names


def _time_verdicts(store: Store, truth: dict[str, str], options: SessionTime) -> tuple[list[float], list[float]]:
    """Returns the seconds from each verdict to a snapshot that includes it, and until the queue is ranked by that."""
    known, ranked = [], []
    for _ in range(options.verdicts):
        row = rank(store, newest_finished(store.project), limit=20, spread=True)[0]
        start = time.perf_counter()
        store.log.append_now([event(Kind.RELABELLED, row.sample_id, truth[row.sample_id], actor="reviewer")])
        wait_until(store, is_up_to_date)
        known.append(time.perf_counter() - start)
        rank(store, newest_finished(store.project), limit=20, spread=True)
        ranked.append(time.perf_counter() - start)
        time.sleep(options.pause)
    return known, ranked


def is_up_to_date(status: LiveStatus) -> bool:
    """Returns whether a snapshot includes all labels."""
    return status.snapshot.number > 0 and status.behind == 0


def wait_until(store: Store, done: Callable[[LiveStatus], bool]) -> None:
    """Returns once a project's session is live and `done` with the labels of the present log."""
    events = store.log.read()
    deadline = time.monotonic() + TIMEOUT_S
    while (status := live_status(store.project, events)) is None or not done(status):
        assert time.monotonic() < deadline, "the session does not answer: run gradebook session by hand"
        time.sleep(POLL_INTERVAL_S)


def _cpu_share(pid: int, seconds: float) -> float:
    """Returns the CPU time of a process as a share of the time that passes."""
    process = psutil.Process(pid)
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / seconds


def _summary(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s, {max(seconds):.2f} s"


if __name__ == "__main__":
    sys.exit(main())
