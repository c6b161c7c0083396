"""How quickly a large project answers: one sample's history, the first 200 of a reason, the 20 nearest neighbours.

    python benchmarks/store.py DIRECTORY --rows 50000000 --samples 1000000 --vectors 1000000

Makes a project in DIRECTORY unless one is there: images, labels, vectors and record go through the functions that
the product uses; what a run's reasons are is drawn and written in their form, for working them out takes a training.
Then asks as the app does. Everything is warm: five questions of each kind go first.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from pipelines.report import machine

CLASSES = tuple(f"class {k}" for k in range(10))
BACKBONE, RUN = "drawn", "run-1"
MADE = "made"  # in a project that is whole; parts of one that is not are taken as they are
SEGMENT = 200_000  # rows
AT_ONCE = 50_000  # samples, vectors
LABELS = 1_000
RECALLED = 20  # questions whose answer is compared with looking at every vector
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
    """Of the first so many samples."""
    dim: int = 384
    """Numbers a vector."""
    runs: int = 5
    """That the record is of."""
    questions: int = 50
    """Of each kind."""


@dataclass(frozen=True, slots=True)
class Answers:
    """How long the answers to one kind of question took."""

    what: str
    seconds: list[tuple[float, float]]  # wall, CPU

    def as_row(self) -> str:
        """Returns a row of the table, in milliseconds."""
        (median, cpu), (late, _) = np.quantile(np.array(self.seconds) * 1e3, [0.5, 0.95], axis=0)
        return f"| {self.what} | {median:.0f} | {late:.0f} | {cpu:.0f} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; returns the exit status."""
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(StoreSpeed, args=given, prog="store.py", description=__doc__)
    made = []
    if not (asked.directory / MADE).exists():
        made = in_another_process(build, asked)
    answers, recall = ask(asked)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(as_markdown(asked, made, answers, recall, memory), flush=True)
    print("\n".join(in_another_process(fold_more, asked)))
    return 0


def in_another_process(work: Callable[..., None], asked: StoreSpeed) -> list[str]:
    """Returns the rows of what the work took; a process of its own, so that what it held is not counted as ours."""
    context = get_context("spawn")
    told = context.Queue()
    process = context.Process(target=work, args=(asked, told))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"it ended with {process.exitcode}: see above")
    rows = []
    while not told.empty():
        rows.append(told.get())
        time.sleep(0.01)
    return rows


def build(asked: StoreSpeed, told: Any) -> None:
    """Makes the project."""
    from storage.project import create_project
    from storage.store import open_store

    random = np.random.default_rng(SEED)
    ids = [f"{number:032x}" for number in range(asked.samples)]
    if not (asked.directory / "gradebook.json").exists():
        create_project(asked.directory, CLASSES)
    store = open_store(asked.directory)
    if len(store.catalog.ids()) < len(ids) or not store.log.version():
        with timed("catalogue and labels", told):
            add_samples(store, ids, random)
    if store.vectors.count(BACKBONE) < asked.vectors:
        with timed(f"vectors, {asked.dim} numbers each", told):
            add_vectors(store, ids[: asked.vectors], asked.dim, random)
    with timed("index of the vectors", told):
        store.vectors.settle(BACKBONE)
    with timed("segments", told):
        for run in range(1, asked.runs + 1):
            path, rows = asked.directory / "runs" / f"run-{run}", asked.rows // asked.runs
            if len(list((path / "record").glob("*.parquet"))) < -(-rows // SEGMENT):
                write_run(path, ids, rows, random)
    with timed("fold, with its index", told):
        store.record.fold_all({path.name: path / "record" for path in (asked.directory / "runs").iterdir()})
    with timed("reasons", told):
        write_reasons(store, ids, random)
    (asked.directory / MADE).touch()
    told.put(f"| most memory while building, GB | {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} | |")


def fold_more(asked: StoreSpeed, told: Any) -> None:
    """Folds a fiftieth of the rows more, which brings the index up to date."""
    from storage.store import open_store

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
    from storage.events import Kind, event
    from storage.samples import File, Sample, Split

    marks = random.bytes(200 * AT_ONCE)
    for start in range(0, len(ids), AT_ONCE):
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
    from storage.vectors import Space

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

    from pipelines import runs

    (path / "record").mkdir(parents=True, exist_ok=True)
    (path / runs.CONFIG).write_text(json.dumps({"method": "mpl", "classes": CLASSES, "backbone": BACKBONE}))
    runs.write_status(path, runs.status_now(runs.State.FINISHED, pid=0, step=1, steps=1))
    (path / runs.PREDICTIONS).touch()
    write_segments(path / "record", ids, rows, random)


def write_segments(path: Path, ids: Sequence[str], rows: int, random: np.random.Generator, first: int = 1) -> None:
    """Writes segments: epochs in random order, opinions drawn."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from storage.segments import LABELS as NAMED
    from storage.segments import SAID, segment_schema

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
        for name in SAID:
            drawn = random.integers(len(CLASSES), size=n).astype(np.int16) if name in NAMED else _numbers(random, n)
            columns[name] = pa.array(drawn)
        pq.write_table(pa.table(columns, schema=schema), path / f"rank0-{number:06}.parquet", compression="zstd")


def write_reasons(store: Any, ids: Sequence[str], random: np.random.Generator) -> None:
    """Writes the reasons of one run in the form in which they are kept, drawn; one sample in fifty has a twin."""
    import json

    import pyarrow as pa

    from mpl.reasons import REASONS
    from pipelines import reason_tables
    from pipelines.runs import Run

    run, n = Run(store.project.runs / RUN), len(ids)
    guess = pa.array(random.integers(len(CLASSES), size=n).astype(np.int16))
    twins = np.arange(0, n - 1, 50)
    offsets = pa.array(np.searchsorted(twins, np.arange(n + 1)).astype(np.int32))
    columns = {
        "sample_id": pa.array(ids),
        "guess": guess,
        "probability": pa.array(_numbers(random, n)),
        "label": guess,
        "group": pa.array(np.arange(n, dtype=np.int32)),
        "twins": pa.ListArray.from_arrays(offsets, pa.array([ids[k + 1] for k in twins])),
        "twin_guesses": pa.ListArray.from_arrays(offsets, guess.take(pa.array(twins + 1))),
        "doubt": pa.array(_numbers(random, n)),
        **{name: pa.array(_numbers(random, n)) for name in REASONS if name != reason_tables.LIVE},
        "space": pa.FixedSizeListArray.from_arrays(pa.array(_numbers(random, 256 * n).astype(np.float16)), 256),
    }
    table = pa.table(columns).replace_schema_metadata({b"classes": json.dumps(CLASSES).encode(), b"left_out": b"[]"})
    reason_tables.write(run.path / reason_tables.GUESSED, reason_tables.made_of(store, run), table)


def _numbers(random: np.random.Generator, n: int) -> NDArray[np.float32]:
    return random.random(n, np.float32)


def ask(asked: StoreSpeed) -> tuple[list[Answers], float]:
    """Returns how long each kind of question took, and the share of the true neighbours that was found."""
    from mpl.reasons import REASONS
    from pipelines.histories import history
    from pipelines.propagate import neighbours
    from pipelines.queue_up import GIVEN, rank
    from pipelines.runs import Run
    from storage.store import open_store

    store, random = open_store(asked.directory), np.random.default_rng(SEED + 2)
    run = Run(store.project.runs / RUN)
    some = [f"{n:032x}" for n in random.integers(min(asked.vectors, asked.samples), size=asked.questions + 5)]
    labelled = [e.sample_id for e in store.log.read() if int(e.sample_id, 16) < asked.vectors]
    reasons = [name for name in REASONS if name != GIVEN]
    each = -(-asked.questions // len(reasons))

    def of_reason(reason: str, limit: int = 200, *, spread: bool = False) -> list[tuple[float, float]]:
        return clocked(lambda _: rank(store, run, reason=reason, limit=limit, spread=spread), [""] * (each + 5))

    found = [
        Answers("history of a sample, all runs", clocked(lambda i: history(store, i), some)),
        Answers("history of a sample, one run", clocked(lambda i: history(store, i, RUN), some)),
        Answers(f"first 200 of a reason, {len(reasons)} reasons", [t for name in reasons for t in of_reason(name)]),
        Answers("24 of a reason, spread over classes and clusters", of_reason("entropy", 24, spread=True)),
        Answers("20 nearest neighbours", clocked(lambda i: store.vectors.nearest(BACKBONE, i, 20), some)),
        Answers(
            "20 unlabelled neighbours to propose a label for",
            clocked(lambda i: neighbours(store, i, limit=20), labelled[: asked.questions + 5]),
        ),
    ]
    return found, recall(store, some[:RECALLED])


def clocked(question: Callable[[str], Any], about: Sequence[str]) -> list[tuple[float, float]]:
    """Returns wall and CPU-seconds of each answer after the first five; none may be empty."""
    seconds = []
    for one in about:
        wall, cpu = time.perf_counter(), time.process_time()
        answer = question(one)
        seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
        assert answer, f"no answer about {one!r}"
    return seconds[5:]


def recall(store: Any, some: Sequence[str]) -> float:
    """Returns the share of the 20 neighbours found by looking at every vector that a search finds."""
    from storage import nearest
    from storage.lance import Tables
    from storage.vectors import table_name

    table: Any = Tables(store.project.root / "lance").open(table_name(BACKBONE))
    hits = 0
    for one in some:
        plain = store.vectors.read(BACKBONE, [one])[0, 0]
        true = {i for i, _ in nearest.nearest(table, one, plain, 20, None, exact=True)}
        hits += len(true & {i for i, _ in store.vectors.nearest(BACKBONE, one, 20)})
    return hits / (20 * len(some))


def as_markdown(asked: StoreSpeed, made: list[str], answers: list[Answers], recalled: float, memory: float) -> str:
    """Returns the tables."""
    sizes = {
        path.name.removesuffix(".lance"): sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / 1e9
        for path in sorted((asked.directory / "lance").glob("*.lance"))
    }
    sizes["segments"] = sum(f.stat().st_size for f in asked.directory.glob("runs/*/record/*")) / 1e9
    sizes["reasons"] = sum(f.stat().st_size for f in asked.directory.glob("runs/*/reasons.arrow")) / 1e9
    shown = replace(asked, directory=Path("DIRECTORY"))
    told = " ".join(
        f"--{name} {getattr(shown, name)}" for name in ("rows", "samples", "vectors", "dim", "runs", "questions")
    )
    lines = [
        f"{asked.rows:,} rows of history in {asked.runs} runs, {asked.samples:,} samples, {asked.vectors:,} vectors.",
        "",
        "| question, warm | median, ms | 95 %, ms | median CPU, ms |",
        "| --- | --- | --- | --- |",
        *(answer.as_row() for answer in answers),
        "",
        f"{recalled:.1%} of the true 20 neighbours are found ({RECALLED} questions). Asking took {memory:.1f} GB.",
        "On disk, GB: " + ", ".join(f"{name} {size:.2f}" for name, size in sizes.items() if size >= 0.005) + ".",
        "",
        *(["| made by | wall seconds | CPU-seconds |", "| --- | --- | --- |", *made, ""] if made else []),
        f"`python benchmarks/store.py DIRECTORY {told}`, {date.today()}, {machine()}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
