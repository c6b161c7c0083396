"""`gradebook verify` runs the checks of `gradebook.pipelines.maintenance.checks`, and repairs what is safe to repair.

A repair changes derived data only: it folds a record again, deletes a temporary file, marks a dead run as stopped, or
lists a file that has its sample's content. It never changes an event, a label or a user's file.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.maintenance.checks import (
    catalog_files,
    checksums,
    event_log,
    holdout,
    reason_cache,
    record,
    temp_files,
    vectors,
)
from gradebook.pipelines.maintenance.checks import runs_and_jobs as runs
from gradebook.pipelines.maintenance.checks.finding import Finding, Subject
from gradebook.pipelines.process.errors import quote
from gradebook.storage.characters import escaped
from gradebook.storage.project import SETTINGS, CorruptSettings, ProjectError, read_project

if TYPE_CHECKING:
    from gradebook.storage.store import Store

Check = Callable[[Subject], Iterator[Finding]]

SHOWN = 3  # paths or ids of a finding before "and N more"
DERIVED = frozenset({"history", "signals", "folded"})  # tables that a fold of the runs' segments makes again
TABLE_ADVICE = {
    "events": "restore lance/events.lance from a backup: nothing else has all labels",
    "samples": "restore the table from a backup, or delete lance/samples.lance and lance/files.lance and import again: "
    "an id is a hash of the image's content, so labels find their images",
    "splits": "restore the table from a backup: without it, test images that were drawn count as training images",
    "vectors": "delete the table's directory and compute the vectors again: gradebook embed",
    "quality": "delete the table's directory: only the reasons on image quality are lost",
    "derived": "run verify --repair, which folds the runs' segments again",
}


def tables(subject: Subject) -> Iterator[Finding]:
    """Every table can be read, whatever interrupted its last writer; with content all of its columns."""
    from gradebook.storage.store import tables_of

    lance = tables_of(subject.store.project)
    for name, error in lance.damaged(whole=subject.content).items():
        yield Finding(
            problem=f"the table {name} cannot be read ({error})",
            where=(f"{lance.address or lance.directory}/{name}.lance",),
            advice=TABLE_ADVICE[_kind(name)],
            repair=(lambda: _fold_all(subject)) if name in DERIVED and _has_all_segments(subject) else None,
        )


def table_versions(subject: Subject) -> Iterator[Finding]:
    """The newest version of every table is there. Without its manifest, the rows written last would be lost."""
    from gradebook.storage.store import tables_of

    lance = tables_of(subject.store.project)
    for name in lance.rolled_back():
        yield Finding(
            problem=f"the newest version of the table {name} is missing, so that it lacks what was written last",
            where=(f"{lance.directory}/{name}.lance/_versions",),
            advice=TABLE_ADVICE[_kind(name)],
            repair=(lambda: _fold_all(subject)) if name in DERIVED and _has_all_segments(subject) else None,
        )


def tables_are_unchanged(subject: Subject) -> Iterator[Finding]:
    """With content: every file of the tables matches its checksum."""
    from gradebook.storage.store import tables_of

    corrupt = tables_of(subject.store.project).corrupt_files() if subject.content else {}
    for name, files in corrupt.items():
        yield Finding(
            problem=f"{len(files)} files of the table {name} are corrupt: they do not match their checksums",
            where=tuple(map(str, files)),
            advice=TABLE_ADVICE[_kind(name)],
            repair=(lambda: _fold_all(subject)) if name in DERIVED and _has_all_segments(subject) else None,
        )


FIRST: tuple[Check, ...] = (tables,)
OF_DIRECTORIES: tuple[Check, ...] = (
    table_versions,
    tables_are_unchanged,
    runs.settings,
    runs.status,
    runs.checkpoints_load,
    runs.endings,
    runs.jobs_are_readable,
    holdout.deletions_are_complete,
    record.segments,
    record.steps,
    checksums.results_are_unchanged,
    checksums.segments_are_unchanged,
    temp_files.drafts,
    temp_files.empty_directories,
)
OF_TABLES: tuple[Check, ...] = (
    event_log.complete,
    event_log.event_ids,
    event_log.events_of_samples,
    event_log.classes_are_those_of_the_log,
    event_log.labels_are_classes,
    event_log.references,
    event_log.order,
    event_log.times,
    event_log.labels_of_runs,
    catalog_files.samples_once,
    catalog_files.files_of_samples,
    catalog_files.samples_have_files,
    catalog_files.files_are_there,
    catalog_files.files_hold_their_sample,
    catalog_files.no_near_copies_across_splits,
    holdout.drawn_images,
    vectors.vectors_of_samples,
    vectors.views_are_whole,
    runs.runs_are_there,
    runs.beginnings,
    record.history,
    record.signals,
    reason_cache.reasons,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of a verification."""

    project: str
    checks: tuple[str, ...]  # those that ran
    samples: int
    events: int
    runs: int
    findings: tuple[Finding, ...]  # problems that remain
    repaired: tuple[Finding, ...]  # problems that were there before

    @property
    def is_sound(self) -> bool:
        """Whether nothing is lost or corrupt; warnings may remain."""
        return all(finding.is_warning for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return {
            "project": self.project,
            "checks": list(self.checks),
            "samples": self.samples,
            "events": self.events,
            "runs": self.runs,
            "findings": [finding.as_json() for finding in self.findings],
            "mended": [finding.as_json() for finding in self.repaired],
        }


def verify(root: Path, *, content: bool = False, repair: bool = False) -> Report:
    """Checks a project directory.

    Args:
        root: the project.
        content: read the content of every file, vector, segment and checkpoint too.
        repair: repair what is safe to repair, then check again.

    Raises:
        ProjectError: `root` is no project, or one of another version.
    """
    from gradebook.storage.store import open_store

    try:
        read_project(root)
    except CorruptSettings as error:
        return _report_corrupt_settings(root, error)
    before = verify_store(open_store(root), content=content)
    if not repair or not before.findings:
        return before
    for finding in before.findings:
        if finding.repair:
            finding.repair()
    after = verify_store(open_store(root), content=content)
    remaining = Counter((finding.check, finding.problem) for finding in after.findings)
    return replace(after, repaired=tuple(f for f in before.findings if not remaining[f.check, f.problem]))


def verify_store(store: "Store", *, content: bool = False) -> Report:
    """Checks an open project and changes nothing. If a table cannot be read, the checks that read tables do not run."""
    subject = Subject(store, content)
    damaged = list(_run(FIRST, subject))
    checks = FIRST + OF_DIRECTORIES + (() if damaged else OF_TABLES)
    findings = [*damaged, *_run(checks[len(FIRST) :], subject)]
    return Report(
        project=str(store.project.root),
        checks=tuple(check.__name__ for check in checks),
        samples=0 if damaged else len(subject.ids),
        events=0 if damaged else len(subject.events),
        runs=len(subject.every_run),
        findings=tuple(findings),
        repaired=(),
    )


def format_report(report: Report) -> str:
    """Returns a report as text."""
    lines = [f"repaired: {finding.problem}" for finding in report.repaired]
    for f in report.findings:
        more = f" and {len(f.where) - SHOWN} more" if len(f.where) > SHOWN else ""
        where = ", ".join(map(escaped, f.where[:SHOWN])) + more
        warning = "warning: " if f.is_warning else ""
        lines += [f"{warning}{f.problem}{': ' if where else ''}{where}", f"    {f.advice}"]
    scope = f"{len(report.checks)} checks of {report.samples} images, {report.events} events and {report.runs} runs"
    warnings = sum(finding.is_warning for finding in report.findings)
    results = [_count(len(report.findings) - warnings, "finding")] if not report.is_sound else ["nothing is lost"]
    results += [_count(warnings, "warning")] if warnings else []
    result = ", ".join(results) if report.findings else "all is well"
    return "\n".join([*lines, f"{scope}: {result}"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _run(checks: tuple[Check, ...], subject: Subject) -> Iterator[Finding]:
    for check in checks:
        try:
            for finding in check(subject):
                yield replace(finding, check=check.__name__)
        except Exception as error:  # damaged data can raise anything
            yield Finding(
                problem=f"the check {check.__name__} could not be done ({type(error).__name__}: {quote(error)})",
                advice="run verify --content, which reads every file by itself; if it finds nothing else, report this",
                check=check.__name__,
            )


def _kind(table: str) -> str:
    if table in DERIVED:
        return "derived"
    names = {"files": "samples"} | {name: name for name in ("events", "samples", "splits", "quality")}
    return names.get(table, "vectors")


def _has_all_segments(subject: Subject) -> bool:
    return all((run.path / "record").is_dir() for run in subject.every_run)


def _fold_all(subject: Subject) -> None:
    subject.store.record.clear()
    for run in subject.every_run:
        subject.store.record.fold(run.name, run.path / "record")


def _report_corrupt_settings(root: Path, error: ProjectError) -> Report:
    """Returns a report that names the newest run's classes: nothing else is left to write the settings from."""
    from gradebook.pipelines.maintenance.checks.finding import has_settings
    from gradebook.pipelines.runs import list_runs
    from gradebook.storage.project import Project

    root = root.expanduser().resolve()
    readable = [run for run in list_runs(Project(root=root, classes=())) if has_settings(run)]
    config: Mapping[str, Any] = readable[-1].config() if readable else {}
    hint = f"; {readable[-1].name} has the classes {', '.join(config.get('classes', []))}" if readable else ""
    finding = Finding(
        problem=str(error).partition(":")[0],
        where=(str(root / SETTINGS),),
        advice=f"restore it from a backup, or delete it and create it again in the same place: "
        f"gradebook init {root} --classes a,b,c, in the order that they had{hint}",
        check="settings_of_project",
    )
    return Report(
        project=str(root),
        checks=("settings_of_project",),
        samples=0,
        events=0,
        runs=len(readable),
        findings=(finding,),
        repaired=(),
    )
