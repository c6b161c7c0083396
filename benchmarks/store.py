"""How quickly a large project answers: one sample's history, the first 200 of a reason, the 20 nearest neighbours.

    python -m benchmarks.store DIRECTORY --rows 50000000 --samples 1000000 --vectors 1000000

Makes a project in DIRECTORY (see `benchmarks.large_store`) unless one is there, then asks as the app does. All is
warm: five questions of each kind go first. In the end a fiftieth of the rows more is folded, the most that may wait
for the index, and the history asked for again. `--vectors 0` asks for nothing but the history, and is made sooner.
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

from benchmarks.large_store import BACKBONE, MADE, RUN, SEED, StoreSpeed, build, fold_more
from gradebook.pipelines.studies.method_comparison import machine

RECALLED = 20  # questions whose answer is compared with looking at every vector


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
    answers = [*of_history(asked), *(of_a_run(asked) if asked.vectors else [])]
    recalled = recall(asked) if asked.vectors else None
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(as_markdown(asked, made, answers, recalled, memory), flush=True)
    folded = in_another_process(fold_more, asked)
    print("\n".join([*folded, *(answer.as_row() for answer in of_history(asked, " after it"))]))
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


def of_history(asked: StoreSpeed, when: str = "") -> list[Answers]:
    """Returns how long the history of a sample takes."""
    from gradebook.pipelines.reporting.sample_history import history
    from gradebook.storage.store import open_store

    store, some = open_store(asked.directory), drawn(asked, asked.samples)
    return [
        Answers(f"history of a sample, all runs{when}", clocked(lambda i: history(store, i), some)),
        Answers(f"history of a sample, one run{when}", clocked(lambda i: history(store, i, RUN), some)),
    ]


def of_a_run(asked: StoreSpeed) -> list[Answers]:
    """Returns how long each kind of question takes about a run's reasons, and about vectors."""
    from gradebook.mpl.reasons import REASONS
    from gradebook.pipelines.curation.label_propagation import neighbours
    from gradebook.pipelines.curation.queue_items import GIVEN
    from gradebook.pipelines.curation.review_queue import rank
    from gradebook.pipelines.runs import Run
    from gradebook.storage.store import open_store

    store, some = open_store(asked.directory), drawn(asked, asked.vectors)
    run = Run(store.project.runs / RUN)
    labelled = [e.sample_id for e in store.log.read() if int(e.sample_id, 16) < asked.vectors]
    reasons = [name for name in REASONS if name != GIVEN]
    each = -(-asked.questions // len(reasons))

    def of_reason(reason: str, limit: int = 200, *, spread: bool = False) -> list[tuple[float, float]]:
        return clocked(lambda _: rank(store, run, reason=reason, limit=limit, spread=spread), [""] * (each + 5))

    return [
        Answers(f"first 200 of a reason, {len(reasons)} reasons", [t for name in reasons for t in of_reason(name)]),
        Answers("24 of a reason, spread over classes and clusters", of_reason("entropy", 24, spread=True)),
        Answers(
            "24 that cover what is in doubt, the default batch",
            clocked(lambda _: rank(store, run, limit=24, spread=True), [""] * (asked.questions + 5)),
        ),
        Answers("20 nearest neighbours", clocked(lambda i: store.vectors.nearest(BACKBONE, i, 20), some)),
        Answers(
            "20 unlabelled neighbours to propose a label for",
            clocked(lambda i: neighbours(store, i, limit=20), labelled[: asked.questions + 5]),
        ),
    ]


def drawn(asked: StoreSpeed, among: int) -> list[str]:
    """Returns samples to ask about, five more than are counted."""
    random = np.random.default_rng(SEED + 2)
    return [f"{n:032x}" for n in random.integers(min(among, asked.samples), size=asked.questions + 5)]


def clocked(question: Callable[[str], Any], about: Sequence[str]) -> list[tuple[float, float]]:
    """Returns wall and CPU-seconds of each answer after the first five; none may be empty."""
    seconds = []
    for one in about:
        wall, cpu = time.perf_counter(), time.process_time()
        answer = question(one)
        seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
        assert answer, f"no answer about {one!r}"
    return seconds[5:]


def recall(asked: StoreSpeed) -> float:
    """Returns the share of the 20 neighbours found by looking at every vector that a search finds."""
    from gradebook.storage import vector_index
    from gradebook.storage.lance_tables import Tables
    from gradebook.storage.lance_vectors import table_name
    from gradebook.storage.store import open_store

    store, some = open_store(asked.directory), drawn(asked, asked.vectors)[:RECALLED]
    table: Any = Tables(store.project.root / "lance").open(table_name(BACKBONE))
    hits = 0
    for one in some:
        plain = store.vectors.read(BACKBONE, [one])[0, 0]
        true = {i for i, _ in vector_index.nearest(table, one, plain, 20, None, exact=True)}
        hits += len(true & {i for i, _ in store.vectors.nearest(BACKBONE, one, 20)})
    return hits / (20 * len(some))


def as_markdown(
    asked: StoreSpeed, made: list[str], answers: list[Answers], recalled: float | None, memory: float
) -> str:
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
        *([] if recalled is None else [f"{recalled:.1%} of the true 20 neighbours are found ({RECALLED} questions)."]),
        f"Asking took {memory:.1f} GB.",
        "On disk, GB: " + ", ".join(f"{name} {size:.2f}" for name, size in sizes.items() if size >= 0.005) + ".",
        "",
        *(["| made by | wall seconds | CPU-seconds |", "| --- | --- | --- |", *made, ""] if made else []),
        f"`python -m benchmarks.store DIRECTORY {told}`, {date.today()}, {machine()}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
