"""A large synthetic project for `benchmarks.store`: samples, labels, vectors, records and the predictions of a run.

It is written by Gradebook's own functions; indices, training dynamics and reasons are computed as for a real project.
No image is opened and nothing is trained.
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
COMPLETE = "made"  # a file in a complete project; an incomplete one is completed by the next call
SEGMENT_ROWS = 200_000
WRITE_BATCH = 50_000  # samples or vectors
MAX_LABELS = 1_000
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSpeed:
    """Options of the benchmark."""

    directory: Annotated[Positional[Path], arg(help="the project, which is made if it does not exist, and not deleted")]
    rows: int = 50_000_000
    """Rows of the record's history, in all runs together."""
    samples: int = 1_000_000
    """Samples of the catalogue, all with reasons."""
    vectors: int = 1_000_000
    """Samples with a vector; 0 for a project with records only."""
    dim: int = 384
    """Features of a vector."""
    runs: int = 5
    """Runs in the record."""
    questions: int = 50
    """Queries of each kind."""


def build(options: StoreSpeed, results: Any) -> None:
    """Makes the project; puts a row of the table of times into `results` for each part."""
    from gradebook.storage.project import create_project
    from gradebook.storage.store import open_store

    random = np.random.default_rng(SEED)
    ids = [f"{number:032x}" for number in range(options.samples)]
    if not (options.directory / "gradebook.json").exists():
        create_project(options.directory, CLASSES)
    store = open_store(options.directory)
    if len(store.catalog.ids()) < len(ids) or not store.log.version():
        with timed("catalogue and labels", results):
            add_samples(store, ids, random)
    if options.vectors:
        if store.vectors.count(BACKBONE) < options.vectors:
            with timed(f"vectors, {options.dim} features each", results):
                add_vectors(store, ids[: options.vectors], options.dim, random)
        with timed("index of the vectors", results):
            store.vectors.update_index(BACKBONE)
    with timed("segments", results):
        for run in range(1, options.runs + 1):
            path, rows = options.directory / "runs" / f"run-{run}", options.rows // options.runs
            if len(list((path / "record").glob("*.parquet"))) < -(-rows // SEGMENT_ROWS):
                write_run(path, ids, rows, random)
    with timed("fold, with its index", results):
        store.record.fold_all({path.name: path / "record" for path in (options.directory / "runs").iterdir()})
    if options.vectors:
        write_predictions(store, ids, random)
        with timed(f"dynamics and reasons of a run of {options.rows // options.runs:,} rows", results):
            compute_reasons(store)
    (options.directory / COMPLETE).touch()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    results.put(f"| peak memory while building, GB | {peak:.1f} | |")


def fold_more(options: StoreSpeed, results: Any) -> None:
    """Folds another fiftieth of the rows, which are not indexed yet."""
    from gradebook.storage.store import open_store

    store, random = open_store(options.directory), np.random.default_rng(SEED + 1)
    path, number = options.directory / "runs", len(list((options.directory / "runs").iterdir())) + 1
    write_run(path / f"run-{number}", [f"{n:032x}" for n in range(options.samples)], options.rows // 50, random)
    with timed(f"fold of {options.rows // 50:,} more rows", results):
        store.record.fold(f"run-{number}", path / f"run-{number}" / "record")


@contextmanager
def timed(name: str, results: Any) -> Iterator[None]:
    """Puts a row with the wall and CPU-seconds of the block into `results`."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    results.put(f"| {name} | {time.perf_counter() - wall:.0f} | {time.process_time() - cpu:.0f} |")


def add_samples(store: Any, ids: Sequence[str], random: np.random.Generator) -> None:
    """Adds samples with one file each, and labels of some of them."""
    from gradebook.storage.events import Kind, event
    from gradebook.storage.samples import File, Sample, Split

    for start in range(0, len(ids), WRITE_BATCH):
        fingerprints = random.bytes(200 * WRITE_BATCH)
        some = ids[start : start + WRITE_BATCH]
        paths = [f"/images/{start + n:09}.jpg" for n in range(len(some))]
        samples = [
            Sample(
                sample_id=i,
                filepath=p,
                split=Split.TRAIN,
                width=640,
                height=480,
                fingerprint=fingerprints[200 * n : 200 * n + 200],
            )
            for n, (i, p) in enumerate(zip(some, paths, strict=True))
        ]
        files = [File(filepath=p, sample_id=i, size=1, mtime_ns=1) for i, p in zip(some, paths, strict=True)]
        store.catalog.add(samples, files)
    chosen = random.choice(len(ids), min(MAX_LABELS, len(ids) // 10), replace=False)
    store.log.append(
        [event(Kind.RELABELLED, ids[n], CLASSES[int(random.integers(len(CLASSES)))], actor="zoe") for n in chosen]
    )


def add_vectors(store: Any, ids: Sequence[str], dim: int, random: np.random.Generator) -> None:
    """Adds vectors distributed like features of images: in clusters, near a low-dimensional subspace, non-negative."""
    from gradebook.storage.vectors import Space

    centres = random.normal(size=(1_000, 64)).astype(np.float32)
    directions = random.normal(size=(64, dim)).astype(np.float32) / 8
    store.vectors.create(Space(backbone=BACKBONE, weights="none", size=224, dim=dim, weak=1, strong=0, seed=0))
    for start in range(0, len(ids), WRITE_BATCH):
        some = ids[start : start + WRITE_BATCH]
        of = centres[random.integers(len(centres), size=len(some))]
        inner = of + 0.7 * random.standard_normal((len(some), 64), np.float32)
        views = np.maximum(inner @ directions + 0.3 * random.standard_normal((len(some), dim), np.float32), 0)
        store.vectors.add(BACKBONE, some, views[:, None].astype(np.float16))


def write_run(path: Path, ids: Sequence[str], rows: int, random: np.random.Generator) -> None:
    """Writes the files of a finished run that the queries need."""
    import json

    from gradebook.pipelines import runs
    from gradebook.pipelines.process.run_status import State, status_now, write_status

    (path / "record").mkdir(parents=True, exist_ok=True)
    (path / runs.CONFIG).write_text(json.dumps({"method": "mpl", "classes": CLASSES, "backbone": BACKBONE}))
    write_status(path, status_now(State.FINISHED, pid=0, step=1, steps=1))
    (path / runs.PREDICTIONS).touch()
    write_segments(path / "record", ids, rows, random)


def write_segments(path: Path, ids: Sequence[str], rows: int, random: np.random.Generator, first: int = 1) -> None:
    """Writes segments of shuffled epochs with random predictions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gradebook.storage.segments import LABELS, RECORDED, segment_schema

    schema, names = segment_schema(CLASSES), np.array(ids)
    left = np.empty(0, np.int64)
    for number, start in enumerate(range(0, rows, SEGMENT_ROWS), first):
        n = min(SEGMENT_ROWS, rows - start)
        while len(left) < n:
            left = np.concatenate([left, random.permutation(len(ids))])
        positions, left = left[:n], left[n:]
        used, codes = np.unique(positions, return_inverse=True)
        columns = {
            "step": pa.array(np.arange(n, dtype=np.int32) // 192 + number * SEGMENT_ROWS // 192),
            "sample_id": pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names[used])),
        }
        for name in RECORDED:
            values = random.integers(len(CLASSES), size=n).astype(np.int16) if name in LABELS else _numbers(random, n)
            columns[name] = pa.array(values)
        pq.write_table(pa.table(columns, schema=schema), path / f"rank0-{number:06}.parquet", compression="zstd")


def write_predictions(store: Any, ids: Sequence[str], random: np.random.Generator) -> None:
    """Writes the final predictions of student and teacher of one run: linear functions of the vectors, with noise.

    The run was trained with half of the labels; the others were given later.
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
    logits = _logits(store, ids, random)[left]
    offsets = pa.array(np.arange(len(left) + 1, dtype=np.int32) * len(CLASSES))
    columns = {"sample_id": pa.array([ids[n] for n in left])}
    for network in ("student", "teacher"):
        probabilities = np.exp(logits + random.standard_normal(logits.shape, np.float32))
        probabilities /= probabilities.sum(1, keepdims=True)
        columns[network] = pa.ListArray.from_arrays(offsets, pa.array(probabilities.ravel()))
    table = pa.table(columns).replace_schema_metadata({b"classes": json.dumps(CLASSES).encode()})
    pq.write_table(table, path / runs.PREDICTIONS, compression="zstd")


def compute_reasons(store: Any) -> None:
    """Computes and caches the run's reasons, as the queue does when it is first opened."""
    from gradebook.pipelines.curation.reason_cache import reasons
    from gradebook.pipelines.runs import Run

    reasons(store, Run(store.project.runs / RUN))


def _logits(store: Any, ids: Sequence[str], random: np.random.Generator) -> NDArray[np.float32]:
    """Returns logits (N, K) of a random linear layer; zero for samples without vectors."""
    n = store.vectors.count(BACKBONE)
    features = store.vectors.read(BACKBONE, ids[:n], 1)[:, 0]
    weight = random.normal(size=(features.shape[1], len(CLASSES))).astype(np.float32)
    logits = np.zeros((len(ids), len(CLASSES)), np.float32)
    for start in range(0, n, WRITE_BATCH):
        stop = min(start + WRITE_BATCH, n)
        logits[start:stop] = features[start:stop].astype(np.float32) @ weight
    logits[:n] -= logits[:n].mean(0)
    return np.asarray(2 * logits / logits.std(), np.float32)


def _numbers(random: np.random.Generator, n: int) -> NDArray[np.float32]:
    return random.random(n, np.float32)
