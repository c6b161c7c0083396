"""A large project to ask questions of: images, labels, vectors, a record and what a run says in the end, all drawn.

All of it goes through the functions that the product uses, and what follows of it (indices, signals, a run's second
reading and its reasons) is worked out as it is for a real one. No image is opened and nothing is trained.
"""

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

CLASSES = tuple(f"class {k}" for k in range(10))
BACKBONE, RUN = "drawn", "run-1"
MADE = "made"  # in a project that is whole; parts of one that is not are taken as they are
SEGMENT = 200_000  # rows
AT_ONCE = 50_000  # samples, vectors
LABELS = 1_000
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSpeed:
    """What to measure."""

    directory: Annotated[Positional[Path], arg(help="where the project is, or is made; it is kept")]
    rows: int = 50_000_000
    """Of the record's history, over all runs."""
    samples: int = 1_000_000
    """Of the catalogue, all of them with reasons."""
    vectors: int = 1_000_000
    """Of the first so many samples; 0 for a project of a record alone."""
    dim: int = 384
    """Numbers a vector."""
    runs: int = 5
    """That the record is of."""
    questions: int = 50
    """Of each kind."""


def build(asked: StoreSpeed, told: Any) -> None:
    """Makes the project."""
    from gradebook.storage.project import create_project
    from gradebook.storage.store import open_store

    random = np.random.default_rng(SEED)
    ids = [f"{number:032x}" for number in range(asked.samples)]
    if not (asked.directory / "gradebook.json").exists():
        create_project(asked.directory, CLASSES)
    store = open_store(asked.directory)
    if len(store.catalog.ids()) < len(ids) or not store.log.version():
        with timed("catalogue and labels", told):
            add_samples(store, ids, random)
    if asked.vectors:
        if store.vectors.count(BACKBONE) < asked.vectors:
            with timed(f"vectors, {asked.dim} numbers each", told):
                add_vectors(store, ids[: asked.vectors], asked.dim, random)
        with timed("index of the vectors", told):
            store.vectors.update_index(BACKBONE)
    with timed("segments", told):
        for run in range(1, asked.runs + 1):
            path, rows = asked.directory / "runs" / f"run-{run}", asked.rows // asked.runs
            if len(list((path / "record").glob("*.parquet"))) < -(-rows // SEGMENT):
                write_run(path, ids, rows, random)
    with timed("fold, with its index", told):
        store.record.fold_all({path.name: path / "record" for path in (asked.directory / "runs").iterdir()})
    if asked.vectors:
        write_opinions(store, ids, random)
        with timed(f"signals and reasons of a run of {asked.rows // asked.runs:,} rows", told):
            work_out_reasons(store)
    (asked.directory / MADE).touch()
    told.put(f"| most memory while building, GB | {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} | |")


def fold_more(asked: StoreSpeed, told: Any) -> None:
    """Folds a fiftieth of the rows more, which the index does not have yet."""
    from gradebook.storage.store import open_store

    store, random = open_store(asked.directory), np.random.default_rng(SEED + 1)
    path, number = asked.directory / "runs", len(list((asked.directory / "runs").iterdir())) + 1
    write_run(path / f"run-{number}", [f"{n:032x}" for n in range(asked.samples)], asked.rows // 50, random)
    with timed(f"fold of {asked.rows // 50:,} rows more", told):
        store.record.fold(f"run-{number}", path / f"run-{number}" / "record")


@contextmanager
def timed(what: str, told: Any) -> Iterator[None]:
    """Tells a row: wall and CPU-seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    told.put(f"| {what} | {time.perf_counter() - wall:.0f} | {time.process_time() - cpu:.0f} |")


def add_samples(store: Any, ids: Sequence[str], random: np.random.Generator) -> None:
    """Adds samples with a file each, and labels of some of them."""
    from gradebook.storage.events import Kind, event
    from gradebook.storage.samples import File, Sample, Split

    for start in range(0, len(ids), AT_ONCE):
        marks = random.bytes(200 * AT_ONCE)
        some = ids[start : start + AT_ONCE]
        paths = [f"/images/{start + n:09}.jpg" for n in range(len(some))]
        samples = [
            Sample(
                sample_id=i,
                filepath=p,
                split=Split.TRAIN,
                width=640,
                height=480,
                fingerprint=marks[200 * n : 200 * n + 200],
            )
            for n, (i, p) in enumerate(zip(some, paths, strict=True))
        ]
        files = [File(filepath=p, sample_id=i, size=1, mtime_ns=1) for i, p in zip(some, paths, strict=True)]
        store.catalog.add(samples, files)
    chosen = random.choice(len(ids), min(LABELS, len(ids) // 10), replace=False)
    store.log.append(
        [event(Kind.RELABELLED, ids[n], CLASSES[int(random.integers(len(CLASSES)))], actor="zoe") for n in chosen]
    )


def add_vectors(store: Any, ids: Sequence[str], dim: int, random: np.random.Generator) -> None:
    """Adds vectors that lie as those of images do: in groups, in few of the many directions, and all to one side."""
    from gradebook.storage.vectors import Space

    centres = random.normal(size=(1_000, 64)).astype(np.float32)
    directions = random.normal(size=(64, dim)).astype(np.float32) / 8
    store.vectors.create(Space(backbone=BACKBONE, weights="none", size=224, dim=dim, weak=1, strong=0, seed=0))
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        of = centres[random.integers(len(centres), size=len(some))]
        inner = of + 0.7 * random.standard_normal((len(some), 64), np.float32)
        views = np.maximum(inner @ directions + 0.3 * random.standard_normal((len(some), dim), np.float32), 0)
        store.vectors.add(BACKBONE, some, views[:, None].astype(np.float16))


def write_run(path: Path, ids: Sequence[str], rows: int, random: np.random.Generator) -> None:
    """Writes what a finished training leaves, as far as the questions need it."""
    import json

    from gradebook.pipelines import runs

    (path / "record").mkdir(parents=True, exist_ok=True)
    (path / runs.CONFIG).write_text(json.dumps({"method": "mpl", "classes": CLASSES, "backbone": BACKBONE}))
    runs.write_status(path, runs.status_now(runs.State.FINISHED, pid=0, step=1, steps=1))
    (path / runs.PREDICTIONS).touch()
    write_segments(path / "record", ids, rows, random)


def write_segments(path: Path, ids: Sequence[str], rows: int, random: np.random.Generator, first: int = 1) -> None:
    """Writes segments: epochs in random order, opinions drawn."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gradebook.storage.segments import LABELS as NAMED
    from gradebook.storage.segments import RECORDED, segment_schema

    schema, names = segment_schema(CLASSES), np.array(ids)
    left = np.empty(0, np.int64)
    for number, start in enumerate(range(0, rows, SEGMENT), first):
        n = min(SEGMENT, rows - start)
        while len(left) < n:
            left = np.concatenate([left, random.permutation(len(ids))])
        places, left = left[:n], left[n:]
        used, codes = np.unique(places, return_inverse=True)
        columns = {
            "step": pa.array(np.arange(n, dtype=np.int32) // 192 + number * SEGMENT // 192),
            "sample_id": pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names[used])),
        }
        for name in RECORDED:
            drawn = random.integers(len(CLASSES), size=n).astype(np.int16) if name in NAMED else _numbers(random, n)
            columns[name] = pa.array(drawn)
        pq.write_table(pa.table(columns, schema=schema), path / f"rank0-{number:06}.parquet", compression="zstd")


def write_opinions(store: Any, ids: Sequence[str], random: np.random.Generator) -> None:
    """Writes what student and teacher of one run say in the end: classes that lie together among the vectors, blurred.

    The run knew the labels of half the labelled samples; the others got theirs since.
    """
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    from gradebook.pipelines import runs
    from gradebook.pipelines.curation import feature_classifier
    from gradebook.storage.events import replay

    path, labels = store.project.runs / RUN, replay(store.log.read())
    known = dict(list(labels.items())[::2])
    (path / feature_classifier.SAMPLES).write_text(json.dumps({"sample_ids": ids}))
    (path / runs.LABELS).write_text(json.dumps(known))
    left = np.array([n for n, i in enumerate(ids) if i not in known])
    odds = _odds(store, ids, random)[left]
    offsets = pa.array(np.arange(len(left) + 1, dtype=np.int32) * len(CLASSES))
    columns = {"sample_id": pa.array([ids[n] for n in left])}
    for network in ("student", "teacher"):
        said = np.exp(odds + random.standard_normal(odds.shape, np.float32))
        said /= said.sum(1, keepdims=True)
        columns[network] = pa.ListArray.from_arrays(offsets, pa.array(said.ravel()))
    table = pa.table(columns).replace_schema_metadata({b"classes": json.dumps(CLASSES).encode()})
    pq.write_table(table, path / runs.PREDICTIONS, compression="zstd")


def work_out_reasons(store: Any) -> None:
    """Works the run's reasons out as the queue does when it is first asked for."""
    from gradebook.pipelines.curation.reason_cache import reasons
    from gradebook.pipelines.runs import Run

    reasons(store, Run(store.project.runs / RUN))


def _odds(store: Any, ids: Sequence[str], random: np.random.Generator) -> NDArray[np.float32]:
    """Returns log odds (N, K) that a direction for each class gives; those of samples without vectors are level."""
    there = store.vectors.count(BACKBONE)
    views = store.vectors.read(BACKBONE, ids[:there], 1)[:, 0]
    ways = random.normal(size=(views.shape[1], len(CLASSES))).astype(np.float32)
    odds = np.zeros((len(ids), len(CLASSES)), np.float32)
    for start in range(0, there, AT_ONCE):
        odds[start : start + AT_ONCE][: there - start] = views[start : start + AT_ONCE].astype(np.float32) @ ways
    odds[:there] -= odds[:there].mean(0)
    return np.asarray(2 * odds / odds.std(), np.float32)


def _numbers(random: np.random.Generator, n: int) -> NDArray[np.float32]:
    return random.random(n, np.float32)
