"""`gradebook verify`: asks every check of `pipelines/checks/` of a project, and mends what is safe to mend.

Safe is what can be derived from what is there: a record folded anew, a draft of ours deleted, a dead run marked
as stopped, a file listed that holds its sample. No event, no label, no file of the user's is ever changed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.maintenance.checks import catalog_files, event_log, reason_cache, record, temp_files, vectors
from gradebook.pipelines.maintenance.checks import runs_and_jobs as runs
from gradebook.pipelines.maintenance.checks.finding import Finding, Subject
from gradebook.storage.project import SETTINGS, ProjectError, read_project

if TYPE_CHECKING:
    from gradebook.storage.store import Store

Check = Callable[[Subject], Iterator[Finding]]

SHOWN = 3  # places of a finding before "and N more"
DERIVED = frozenset({"history", "signals", "folded"})  # tables that a fold of the runs' segments makes anew
MEND_TABLE = {
    "events": "restore lance/events.lance from a backup: it holds the labels, which nothing else does",
    "samples": "restore the table from a backup, or delete lance/samples.lance and lance/files.lance and import again: "
    "an id is a hash of the image's content, so labels find their images",
    "vectors": "delete the table's directory and make the vectors again: gradebook embed",
    "derived": "verify with --mend, which folds the runs' segments anew",
}


def tables(subject: Subject) -> Iterator[Finding]:
    """Every table can be read, whatever interrupted its last writer; with content each column of it."""
    from gradebook.storage.store import tables_of

    lance = tables_of(subject.store.project)
    for name, why in lance.damaged(whole=subject.content).items():
        kind = {"files": "samples", "spaces": "vectors"}.get(name, "vectors" if name.startswith("vectors-") else name)
        segments = all((run.path / "record").is_dir() for run in subject.every_run)
        yield Finding(
            what=f"the table {name} cannot be read ({why})",
            where=(f"{lance.address or lance.directory}/{name}.lance",),
            mend=MEND_TABLE["derived" if name in DERIVED else kind],
            mending=(lambda: _fold_all(subject)) if name in DERIVED and segments else None,
        )


FIRST: tuple[Check, ...] = (tables,)
OF_DIRECTORIES: tuple[Check, ...] = (
    runs.settings,
    runs.status,
    runs.checkpoints_load,
    runs.endings,
    runs.jobs_are_readable,
    record.segments,
    record.steps,
    temp_files.drafts,
    temp_files.empty_directories,
)
OF_TABLES: tuple[Check, ...] = (
    event_log.event_ids,
    event_log.events_of_samples,
    event_log.labels_are_classes,
    event_log.references,
    event_log.order,
    event_log.times,
    catalog_files.samples_once,
    catalog_files.files_of_samples,
    catalog_files.samples_have_files,
    catalog_files.files_are_there,
    catalog_files.files_hold_their_sample,
    vectors.vectors_of_samples,
    vectors.views_are_whole,
    runs.beginnings,
    record.history,
    record.signals,
    reason_cache.reasons,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a verification found."""

    project: str
    checks: tuple[str, ...]  # those that were asked
    samples: int
    events: int
    runs: int
    findings: tuple[Finding, ...]  # what is still so
    mended: tuple[Finding, ...]  # what was so before

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        told = {name: getattr(self, name) for name in Report.__slots__}
        return (
            told
            | {"checks": list(self.checks)}
            | {name: [_plain(finding) for finding in told[name]] for name in ("findings", "mended")}
        )


def verify(root: Path, *, content: bool = False, mend: bool = False) -> Report:
    """Checks a project directory.

    Args:
        root: the project.
        content: read the content of every file, vector, segment and checkpoint too.
        mend: mend what is safe to mend, then check again.

    Raises:
        ProjectError: `root` is no project, or one of another version.
    """
    from gradebook.storage.store import open_store

    try:
        read_project(root)
    except ProjectError as error:
        if not _is_torn(root):
            raise
        return _of_torn_settings(root, error)
    before = verify_store(open_store(root), content=content)
    if not mend or not before.findings:
        return before
    for finding in before.findings:
        if finding.mending:
            finding.mending()
    after = verify_store(open_store(root), content=content)
    still = Counter((finding.check, finding.what) for finding in after.findings)
    return replace(after, mended=tuple(f for f in before.findings if not still[f.check, f.what]))


def verify_store(store: "Store", *, content: bool = False) -> Report:
    """Checks an open project and changes nothing. Where a table cannot be read, only what does without is checked."""
    subject = Subject(store, content)
    damaged = list(_ask(FIRST, subject))
    asked = FIRST + OF_DIRECTORIES + (() if damaged else OF_TABLES)
    findings = [*damaged, *_ask(asked[len(FIRST) :], subject)]
    return Report(
        project=str(store.project.root),
        checks=tuple(check.__name__ for check in asked),
        samples=0 if damaged else len(subject.ids),
        events=0 if damaged else len(subject.events),
        runs=len(subject.every_run),
        findings=tuple(findings),
        mended=(),
    )


def report_words(report: Report) -> str:
    """Returns what was found, for people."""
    lines = [f"mended: {finding.what}" for finding in report.mended]
    for f in report.findings:
        places = ", ".join(f.where[:SHOWN]) + (f" and {len(f.where) - SHOWN} more" if len(f.where) > SHOWN else "")
        lines += [f"{f.what}{': ' if places else ''}{places}", f"    {f.mend}"]
    looked = f"{len(report.checks)} checks of {report.samples} images, {report.events} events and {report.runs} runs"
    return "\n".join([*lines, f"{looked}: {f'{len(report.findings)} findings' if report.findings else 'all is well'}"])


def _ask(checks: tuple[Check, ...], subject: Subject) -> Iterator[Finding]:
    for check in checks:
        for finding in check(subject):
            yield replace(finding, check=check.__name__)


def _fold_all(subject: Subject) -> None:
    subject.store.record.clear()
    for run in subject.every_run:
        subject.store.record.fold(run.name, run.path / "record")


def _is_torn(root: Path) -> bool:
    """Returns whether there are settings of a project which are not JSON."""
    import json

    try:
        json.loads((root.expanduser() / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return False


def _of_torn_settings(root: Path, error: ProjectError) -> Report:
    """Returns a report that says which classes the newest run knew, for there is nothing else to write them from."""
    from gradebook.pipelines.maintenance.checks.finding import has_settings
    from gradebook.pipelines.runs import list_runs
    from gradebook.storage.project import Project

    root = root.expanduser().resolve()
    told = [run for run in list_runs(Project(root=root, classes=())) if has_settings(run)]
    classes: Mapping[str, Any] = told[-1].config() if told else {}
    hint = f"; {told[-1].name} knew the classes {', '.join(classes.get('classes', []))}" if told else ""
    finding = Finding(
        what=str(error).partition(":")[0],
        where=(str(root / SETTINGS),),
        mend=f"restore it from a backup, or delete it and make it anew in the same place: "
        f"gradebook init {root} --classes a,b,c, in the order they had{hint}",
        check="settings_of_project",
    )
    return Report(
        project=str(root),
        checks=("settings_of_project",),
        samples=0,
        events=0,
        runs=len(told),
        findings=(finding,),
        mended=(),
    )


def _plain(finding: Finding) -> dict[str, Any]:
    told = asdict(replace(finding, mending=None))
    return told | {"where": list(finding.where), "mending": None, "can_mend": finding.mending is not None}
