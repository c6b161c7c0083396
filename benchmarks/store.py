"""Measures queries on a large project: a sample's history, the first 200 of a reason, the 20 nearest neighbours.

    python -m benchmarks.store DIRECTORY --rows 50000000 --samples 1000000 --vectors 1000000

Makes a project in DIRECTORY (see `benchmarks.large_store`) unless there is one, then queries it as the app does, after
five warm-up queries of each kind. Finally it folds another fiftieth of the rows, the most that may stay unindexed, and
queries the history again. `--vectors 0` measures only the history, and its project is made sooner.
"""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.large_store import BACKBONE, COMPLETE, RUN, SEED, StoreSpeed, build, fold_more
from gradebook.pipelines.studies.command_line import machine

RECALL_QUERIES = 20  # whose neighbours are compared with those of an exact search


@dataclass(frozen=True, slots=True)
class QueryTimes:
    """The times of one kind of query."""

    name: str
    seconds: list[tuple[float, float]]  # wall, CPU

    def as_row(self) -> str:
        """Returns a row of the table, in milliseconds."""
        (median, cpu), (late, _) = np.quantile(np.array(self.seconds) * 1e3, [0.5, 0.95], axis=0)
        return f"| {self.name} | {median:.0f} | {late:.0f} | {cpu:.0f} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; returns the exit status."""
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(StoreSpeed, args=given, prog="python -m benchmarks.store", description=__doc__)
    made = []
    if not (options.directory / COMPLETE).exists():
        made = in_another_process(build, options)
    answers = [*time_history(options), *(time_run(options) if options.vectors else [])]
    recalled = recall(options) if options.vectors else None
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(as_markdown(options, made, answers, recalled, memory), flush=True)
    folded = in_another_process(fold_more, options)
    print("\n".join([*folded, *(answer.as_row() for answer in time_history(options, " after it"))]))
    return 0


def in_another_process(work: Callable[..., None], options: StoreSpeed) -> list[str]:
    """Does the work in another process, so that its memory is not counted; returns its rows of the table."""
    context = get_context("spawn")
    results = context.Queue()
    process = context.Process(target=work, args=(options, results))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"the process failed with exit status {process.exitcode}: see its error above")
    rows = []
    while not results.empty():
        rows.append(results.get())
        time.sleep(0.01)
    return rows


def time_history(options: StoreSpeed, when: str = "") -> list[QueryTimes]:
    """Returns the times of queries of a sample's history."""
    from gradebook.pipelines.reporting.sample_history import history
    from gradebook.storage.store import open_store

    store, some = open_store(options.directory), random_samples(options, options.samples)
    return [
        QueryTimes(f"history of a sample, all runs{when}", time_queries(lambda i: history(store, i), some)),
        QueryTimes(f"history of a sample, one run{when}", time_queries(lambda i: history(store, i, RUN), some)),
    ]


def time_run(options: StoreSpeed) -> list[QueryTimes]:
    """Returns the times of queries of a run's reasons and of vectors."""
    from gradebook.mpl.reasons import REASONS
    from gradebook.pipelines.curation.label_propagation import neighbours
    from gradebook.pipelines.curation.queue_items import GIVEN
    from gradebook.pipelines.curation.review_queue import rank
    from gradebook.pipelines.runs import Run
    from gradebook.storage.store import open_store

    store, some = open_store(options.directory), random_samples(options, options.vectors)
    run = Run(store.project.runs / RUN)
    labelled = [e.sample_id for e in store.log.read() if int(e.sample_id, 16) < options.vectors]
    reasons = [name for name in REASONS if name != GIVEN]
    each = -(-options.questions // len(reasons))

    def of_reason(reason: str, limit: int = 200, *, spread: bool = False) -> list[tuple[float, float]]:
        return time_queries(lambda _: rank(store, run, reason=reason, limit=limit, spread=spread), [""] * (each + 5))

    return [
        QueryTimes(f"first 200 of a reason, {len(reasons)} reasons", [t for name in reasons for t in of_reason(name)]),
        QueryTimes("24 of a reason, diverse over classes and clusters", of_reason("entropy", 24, spread=True)),
        QueryTimes(
            "24 of the default order: the default batch",
            time_queries(lambda _: rank(store, run, limit=24, spread=True), [""] * (options.questions + 5)),
        ),
        QueryTimes("20 nearest neighbours", time_queries(lambda i: store.vectors.nearest(BACKBONE, i, 20), some)),
        QueryTimes(
            "20 unlabelled neighbours, to propagate a label to",
            time_queries(lambda i: neighbours(store, i, limit=20), labelled[: options.questions + 5]),
        ),
    ]


def random_samples(options: StoreSpeed, among: int) -> list[str]:
    """Returns random samples to query, five more than are counted."""
    random = np.random.default_rng(SEED + 2)
    return [f"{n:032x}" for n in random.integers(min(among, options.samples), size=options.questions + 5)]


def time_queries(query: Callable[[str], Any], samples: Sequence[str]) -> list[tuple[float, float]]:
    """Returns wall and CPU-seconds of each query after the first five; none may have an empty result."""
    seconds = []
    for sample in samples:
        wall, cpu = time.perf_counter(), time.process_time()
        result = query(sample)
        seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
        assert result, f"no result for {sample!r}"
    return seconds[5:]


def recall(options: StoreSpeed) -> float:
    """Returns the share of the true 20 nearest neighbours that the search finds."""
    from gradebook.storage import vector_index
    from gradebook.storage.lance_tables import Tables
    from gradebook.storage.lance_vectors import table_name
    from gradebook.storage.store import open_store

    store, some = open_store(options.directory), random_samples(options, options.vectors)[:RECALL_QUERIES]
    table: Any = Tables(store.project.root / "lance").open(table_name(BACKBONE))
    hits = 0
    for one in some:
        plain = store.vectors.read(BACKBONE, [one])[0, 0]
        true = {i for i, _ in vector_index.nearest(table, one, plain, 20, None, exact=True)}
        hits += len(true & {i for i, _ in store.vectors.nearest(BACKBONE, one, 20)})
    return hits / (20 * len(some))


def as_markdown(
    options: StoreSpeed, made: list[str], answers: list[QueryTimes], recalled: float | None, memory: float
) -> str:
    """Returns the tables."""
    sizes = {
        path.name.removesuffix(".lance"): sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / 1e9
        for path in sorted((options.directory / "lance").glob("*.lance"))
    }
    sizes["segments"] = sum(f.stat().st_size for f in options.directory.glob("runs/*/record/*")) / 1e9
    sizes["reasons"] = sum(f.stat().st_size for f in options.directory.glob("runs/*/reasons.arrow")) / 1e9
    shown = replace(options, directory=Path("DIRECTORY"))
    flags = " ".join(
        f"--{name} {getattr(shown, name)}" for name in ("rows", "samples", "vectors", "dim", "runs", "questions")
    )
    recall_line = []
    if recalled is not None:
        recall_line = [f"{recalled:.1%} of the true 20 neighbours are found ({RECALL_QUERIES} queries)."]
    lines = [
        f"{options.rows:,} rows of history in {options.runs} runs, {options.samples:,} samples, "
        f"{options.vectors:,} vectors.",
        "",
        "| query, warm | median, ms | 95 %, ms | median CPU, ms |",
        "| --- | --- | --- | --- |",
        *(answer.as_row() for answer in answers),
        "",
        *recall_line,
        f"The queries took {memory:.1f} GB.",
        "On disk, GB: " + ", ".join(f"{name} {size:.2f}" for name, size in sizes.items() if size >= 0.005) + ".",
        "",
        *(["| part of the project | wall seconds | CPU-seconds |", "| --- | --- | --- |", *made, ""] if made else []),
        f"`python -m benchmarks.store DIRECTORY {flags}`, {date.today()}, {machine()}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
