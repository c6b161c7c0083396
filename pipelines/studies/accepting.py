"""Simulates `gradebook accept-rest`: how often its bound holds, and how many labels it gives per answer.

    python pipelines/studies/accepting.py PROJECT ... --run NAME --errors 0.02 0.05 --draws 200

The pseudo-labels are the predictions of a finished run, and the answers are the names of the images' folders. Every
draw is an audit with its own seed. If nothing can be accepted, further audits follow, up to `--attempts`.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import Positional, arg

from gradebook.pipelines.curation.accept_rest import EXCESS, next_excess
from gradebook.pipelines.curation.audit_draw import Request, draw_groups, ranked_pool
from gradebook.pipelines.curation.audit_files import Group
from gradebook.pipelines.curation.audit_parts import accepted_end
from gradebook.pipelines.curation.feature_classifier import read_predictions
from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.runs import find_run
from gradebook.pipelines.studies.command_line import footer, read_options
from gradebook.storage.events import decisions
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, open_store

HEADER = """| set | images | wrong | error | per class | any accepted | bound broken | typed | given | of these wrong |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepting:
    """Options of the study."""

    projects: Annotated[Positional[tuple[Path, ...]], arg(help="projects whose images lie in folders named by class")]
    run: str = "best"
    """Run whose predictions are the pseudo-labels."""
    errors: tuple[float, ...] = (0.02, 0.05)
    """Shares of wrong labels that are tolerated."""
    confidence: float = 0.95
    """Probability with which no more are wrong."""
    draws: int = 200
    """Random audits of each row."""
    attempts: int = 3
    """Audits in a row at most, until something is accepted."""
    each_class: bool = False
    """Test each class by itself."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one draw."""

    typed: int  # answers
    given: int  # accepted pseudo-labels
    wrong: int  # of these
    broken: bool  # whether more than the tolerated share of a group's are wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    options, given = read_options(Accepting, "accepting.py", __doc__, arguments)
    with exit_with_message():
        print(HEADER)
        for project in options.projects:
            store = open_store(project)
            pool, truth = _pool(store, options.run)
            for target in options.errors:
                print(_row(project, pool, truth, target, options), flush=True)
        print(f"\n{footer('pipelines/studies/accepting.py', given)}")
    return 0


def simulate(pool: Group, truth: Mapping[str, str], request: Request, attempts: int) -> Outcome:
    """Audits a pool until something is accepted, with the true labels as answers."""
    labels, typed, excess = dict[str, str | None](), 0, EXCESS
    pseudo = dict(zip(pool.sample_ids, pool.labels, strict=True))
    for attempt in range(1, attempts + 1):
        rest = _without(pool, labels)
        draw = draw_groups(rest, _seeded(request, attempt), attempt=attempt, excess=excess)
        if draw is None:
            break
        labels |= {i: truth[i] for i in draw.drawn}
        typed += len(draw.drawn)
        ends = [accepted_end(g, request.target, labels, frozenset(draw.drawn)) for g in draw.groups]
        accepted = [
            [i for i in g.sample_ids[:end] if i not in labels] for g, end in zip(draw.groups, ends, strict=True)
        ]
        if any(accepted):
            wrong = [sum(pseudo[i] != truth[i] for i in ids) for ids in accepted]
            broken = any(w > request.target * len(ids) for w, ids in zip(wrong, accepted, strict=True))
            return Outcome(typed, sum(map(len, accepted)), sum(wrong), broken)
        excess = next_excess(sum(pseudo[i] != truth[i] for i in draw.drawn), draw.expected_wrong)
    return Outcome(typed, 0, 0, False)


def _row(path: Path, pool: Group, truth: Mapping[str, str], target: float, options: Accepting) -> str:
    def request(seed: int) -> Request:
        return Request(target=target, confidence=options.confidence, seed=seed, each_class=options.each_class)

    outcomes = [simulate(pool, truth, request(1000 * n), options.attempts) for n in range(options.draws)]
    wrong = np.mean([label != truth[i] for i, label in zip(pool.sample_ids, pool.labels, strict=True)])
    typed, given = (np.array([getattr(o, name) for o in outcomes]) for name in ("typed", "given"))
    errors = sum(o.wrong for o in outcomes) / max(1, given.sum())
    broken, some = sum(o.broken for o in outcomes), int((given > 0).sum())
    return (
        f"| {path.parent.name} | {len(pool.sample_ids):,} | {wrong:.1%} | {target:.0%} | "
        f"{'yes' if options.each_class else 'no'} | {some} of {len(outcomes)} | {broken} of {len(outcomes)} | "
        f"{typed.mean():.0f} | {given.mean():.0f} | {errors:.2%} |"
    )


def _pool(store: Store, run: str) -> tuple[Group, dict[str, str]]:
    decided = decisions(store.log.read())
    truth = {
        s.sample_id: Path(s.filepath).parent.name
        for s in store.catalog.samples(Split.TRAIN)
        if s.sample_id not in decided
    }
    return ranked_pool(read_predictions(find_run(store.project, run)), set(truth)), truth


def _without(pool: Group, labels: Mapping[str, str | None]) -> Group:
    rows = [k for k, i in enumerate(pool.sample_ids) if i not in labels]
    return pool.rows(rows)


def _seeded(request: Request, attempt: int) -> Request:
    return Request(
        target=request.target,
        confidence=request.confidence,
        seed=request.seed + attempt,
        each_class=request.each_class,
    )


if __name__ == "__main__":
    sys.exit(main())
