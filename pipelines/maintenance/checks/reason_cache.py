"""The cached reason tables of runs, which can be computed again at any time."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from gradebook.pipelines.curation import reason_cache
from gradebook.pipelines.curation.feature_classifier import CACHE
from gradebook.pipelines.maintenance.checks.finding import Finding, Subject
from gradebook.pipelines.runs import PREDICTIONS, Run


def reasons(subject: Subject) -> Iterator[Finding]:
    """Reason tables can be read; with content they equal recomputed ones."""
    for run in subject.runs:
        paths = [run.results / name for name in (reason_cache.PREDICTED, reason_cache.GIVEN)]
        bad = [path for path in paths if path.exists() and not _is_valid(subject, run, path)]
        if bad:
            yield Finding(
                problem=f"{run.name}: {len(bad)} reason tables are corrupt, or do not match its record",
                where=tuple(map(str, bad)),
                advice="run verify --repair, which deletes them: the queue computes them again when it needs them",
                repair=partial(_delete, bad),
            )


def _is_valid(subject: Subject, run: Run, path: Path) -> bool:
    if not (run.results / PREDICTIONS).exists():
        return reason_cache.open_table(path) is not None
    of = reason_cache.fingerprint(subject.store, run)
    kept = reason_cache.read_table(path, of)
    if kept is None or not subject.content or not (run.results / CACHE).exists():
        return reason_cache.open_table(path) is not None  # an outdated one is computed again when it is needed
    given = kept.labels() if path.name == reason_cache.GIVEN else None
    return reason_cache.same_content(kept.table, reason_cache.compute_table(subject.store, run, given))


def _delete(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
