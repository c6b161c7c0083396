"""Processes that work on a project until they are killed, each reporting through a pipe what is safely written.

They are forked from a server that has imported what they need (`multiprocessing`'s forkserver), so that killing fifty
costs seconds.
"""

import json
import os
import random
import time
import warnings
from dataclasses import make_dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lancedb  # noqa: F401
import pyarrow.parquet  # noqa: F401
import torch

from gradebook.pipelines import runs
from gradebook.pipelines.curation.verdicts import Shown, verdict
from gradebook.pipelines.importing import import_images as job
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.training import recorder
from gradebook.storage import compaction, lance_record, lance_tables, segments
from gradebook.storage.segments import RECORDED
from gradebook.storage.store import open_store

# LanceDB warns that a fork may hang if another thread was active; a server that only imports has none.
warnings.filterwarnings("ignore", message="lancedb fork support")

CLASSES = ("cat", "dog")
SAMPLES = [f"sample {n}" for n in range(6)]  # of the run that never ends
EVERY = 2  # steps of a segment
PACE = 0.003  # seconds a step
StepPredictions = make_dataclass("StepPredictions", [(name, Any, None) for name in RECORDED])


def ready(done: Connection) -> None:
    """Says so; and lets merging, more than one append a fold and more than one chunk an import come round soon."""
    lance_tables.COMPACTION_INTERVAL, lance_record.SEGMENT_BATCH, job.CHUNK, job.EVENTS_BATCH = 4, 16, 3, 5
    tell(done, "ready")


def tell(done: Connection, what: str) -> None:
    """Says in one write, so that a kill cannot tear it, that something is safe."""
    os.write(done.fileno(), f"{what}\n".encode())


def review(root: Path, seed: int, done: Connection) -> None:
    """Gives one verdict after the other; tells the id of each."""
    store, draw = open_store(root), random.Random(seed)
    ids = store.catalog.ids()
    ready(done)
    while True:
        shown = Shown(sample_id=draw.choice(ids), label="cat", probability=0.5, run="endless")
        events = verdict(shown, draw.choice(CLASSES), actor="zoe")
        store.log.append(events)
        tell(done, events[-1].event_id)


def import_again(root: Path, images: Path, done: Connection) -> None:
    """Imports a folder over and over."""
    store = open_store(root)
    ready(done)
    while True:
        job.import_images(store, images, labels="folders")


def train(root: Path, begin: int, done: Connection) -> None:
    """Writes the record of a run from step `begin` on; prints the steps whose segment is on disk."""
    path = root / "runs" / "endless"
    write_status(path, status_now(State.RUNNING, pid=os.getpid(), step=begin, steps=10**6))
    segments.delete_segments_after(path / "record", begin)
    keeper = recorder.Recorder(path / "record", CLASSES, SAMPLES)
    ready(done)
    for step in count(begin + 1):
        time.sleep(PACE)
        label = torch.full((len(SAMPLES),), step % 2)
        keeper.put(step, torch.arange(len(SAMPLES)), StepPredictions(teacher_label=label, feedback=label.float()))
        if step % EVERY == 0:
            keeper.flush()
            write_status(path, status_now(State.RUNNING, pid=os.getpid(), step=step, steps=10**6))
            tell(done, str(step))


def fold(root: Path, seed: int, done: Connection) -> None:
    """Folds the run's segments and sums them up, now and then from nothing."""
    store, draw = open_store(root), random.Random(seed)
    ready(done)
    while True:
        if draw.random() < 0.1:
            store.record.forget("endless")
        store.record.fold("endless", root / "runs" / "endless" / "record")
        store.record.dynamics("endless")


def compact(root: Path, seed: int, done: Connection) -> None:
    """Merges the small files of every table, as a writer does now and then."""
    tables, draw = lance_tables.Tables(root / "lance"), random.Random(seed)
    ready(done)
    while True:
        table = tables.open(draw.choice(["events", "samples", "files", "history", "folded"]))
        if table is not None:
            with tables.write_lock():
                table.optimize(cleanup_older_than=compaction.OLD_VERSIONS_TTL)


def begin(root: Path) -> None:
    """Gives the endless run what a training writes before its first step."""
    path = root / "runs" / "endless"
    (path / "record").mkdir(parents=True)
    (path / runs.CONFIG).write_text(json.dumps({"classes": CLASSES, "processes": 1, "record_every": 1}))
    (path / "samples.json").write_text(json.dumps({"sample_ids": [], "validation": []}))
    (path / runs.LABELS).write_text("{}")
