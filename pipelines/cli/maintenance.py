"""Commands that keep a project in order: verify, read and undo the log, follow moved files, compare runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import EveryRun, Flag, Json, Project, app, print_result, print_rows, status_of
from gradebook.pipelines.process.progress import progress

if TYPE_CHECKING:
    from gradebook.storage.store import Store

FINDINGS_REMAIN = 1  # exit status of verify


@app.command
def verify(
    project: Project,
    *,
    content: Annotated[Flag, arg(help="also read every file, vector, segment and checkpoint")] = False,
    repair: Annotated[
        Flag, arg(aliases=["--mend"], help="repair what can be derived; never changes an event or a file of yours")
    ] = False,
    json: Json = False,
) -> int:
    """Check a project for lost or corrupt data.

    Prints how to repair each finding. The exit status is 1 if findings remain, and 0 if there are only warnings, such
    as near-copies across splits, which make the test accuracy too high.
    """
    from gradebook.pipelines.maintenance.verify import format_report
    from gradebook.pipelines.maintenance.verify import verify as run_verify

    report = run_verify(project, content=content, repair=repair)
    print_result(report.as_json(), json, lambda: format_report(report))
    return 0 if report.is_sound else FINDINGS_REMAIN


@app.command(aliases=["history"])
def log(
    project: Project,
    sample: Annotated[
        Positional[str | None], arg(metavar="[SAMPLE]", help="a sample's id, or an image's path; by default all")
    ] = None,
    *,
    limit: Annotated[int, arg(help="maximum number of events")] = 50,
    actor: Annotated[
        str | None, arg(metavar="NAME", help="only events of this person, of import or of run:NAME")
    ] = None,
    json: Json = False,
) -> None:
    """Show who labelled what and when, newest first.

    Shows the events of one image, or of all. An older name of this command is history.
    """
    from gradebook.pipelines.reporting.audit_log import audit_log_table, read_audit_log
    from gradebook.storage.store import open_store

    rows = read_audit_log(open_store(project), sample, actor=actor, limit=limit)
    print_rows([row.as_json() for row in rows], json, lambda: audit_log_table(rows))


@app.command
def undo(
    project: Project,
    event: Annotated[
        Positional[str],
        arg(
            metavar="EVENT",
            help="an event's id, as gradebook log shows it, or audit:ID for all labels that accept-rest gave",
        ),
    ],
    *,
    json: Json = False,
) -> None:
    """Undo a verdict, a change of classes, or an earlier undo.

    Adds an event to the log and removes none. The earlier label applies again.
    """
    from gradebook.storage.store import open_store

    result, text = _undo(open_store(project), event)
    print_result(result, json, lambda: text)


def _undo(store: "Store", event: str) -> tuple[dict[str, Any], str]:
    """Undoes an event or an audit; returns the result, and as text."""
    from gradebook.pipelines.cli.curation_formatting import class_report
    from gradebook.pipelines.curation.accept_rest import undo as undo_audit
    from gradebook.pipelines.curation.audit_files import ACTOR
    from gradebook.pipelines.curation.class_changes import undo_change
    from gradebook.pipelines.curation.labelling import actor
    from gradebook.pipelines.curation.retractions import take_back
    from gradebook.storage.events import replay

    if event.startswith(ACTOR):
        count = undo_audit(store, event.removeprefix(ACTOR), actor=actor())
        return {"undone": event, "labels": count}, f"{count} labels undone"
    if event in {e.event_id for e in store.project.history.events}:
        report = undo_change(store, actor=actor(), event_id=event).as_json()
        return {"event_id": report["event_id"], "undone": event, **report}, class_report(report)
    row = take_back(store, event, actor=actor())
    label = replay(store.log.read()).get(row.sample_id)
    result = {"event_id": row.event_id, "undone": event, "sample_id": row.sample_id, "label": label}
    return result, f"undone; the label of {row.sample_id} is now {label or 'none'}"


@app.command
def relocate(
    project: Project,
    old: Annotated[Positional[Path], arg(metavar="OLD", help="where the folder was at import")],
    new: Annotated[Positional[Path], arg(metavar="NEW", help="where it is now")],
    *,
    dry_run: Annotated[Flag, arg(help="show what would change, and change nothing")] = False,
    json: Json = False,
) -> int:
    """Update the paths of images whose folder has moved.

    Labels stay, because they belong to the content of the images.
    """
    from gradebook.pipelines.maintenance.relocate import format_relocation
    from gradebook.pipelines.maintenance.relocate import relocate as run_relocate
    from gradebook.storage.store import open_store

    with progress("relocate") as show:
        result = run_relocate(open_store(project), old, new, dry_run=dry_run, progress=show).as_json()
    print_result(result, json, lambda: format_relocation(result))
    return status_of(result["moved"] > 0, f"no image was found below {new}")


@app.command
def forget(
    project: Project,
    path: Annotated[Positional[Path], arg(metavar="PATH", help="a folder or a file that you have deleted")],
    *,
    dry_run: Annotated[Flag, arg(help="show what would change, and change nothing")] = False,
    json: Json = False,
) -> None:
    """Remove deleted files from the catalogue.

    Their labels stay in the log. Importing the files again brings them back.
    """
    from gradebook.pipelines.maintenance.forget import forget as run_forget
    from gradebook.storage.store import open_store

    files = run_forget(open_store(project), path, dry_run=dry_run)
    text = f"{len(files)} files {'would be' if dry_run else 'are'} forgotten: import them again to undo"
    print_result({"files": files, "dry_run": dry_run}, json, lambda: text)


@app.command
def backup(
    project: Project,
    file: Annotated[Positional[Path], arg(metavar="FILE", help="the zip file to write; it must not exist")],
    *,
    json: Json = False,
) -> None:
    """Write a project to one file, without its images.

    The project can be in use meanwhile. gradebook restore creates it again from the file.
    """
    from gradebook.pipelines.maintenance.backup import backup as run_backup
    from gradebook.pipelines.maintenance.backup import format_backup

    with progress("backup") as show:
        report = run_backup(project, file, progress=show)
    print_result(report.as_json(), json, lambda: format_backup(report))


@app.command
def restore(
    file: Annotated[Positional[Path], arg(metavar="FILE", help="a file that gradebook backup wrote")],
    project: Annotated[Positional[Path], arg(metavar="PROJECT", help="a new or empty directory")],
    *,
    json: Json = False,
) -> None:
    """Restore a project from a backup.

    Checks every checksum first. Nothing is restored from a damaged backup.
    """
    from gradebook.pipelines.maintenance.restore import format_restore
    from gradebook.pipelines.maintenance.restore import restore as run_restore

    with progress("restore") as show:
        report = run_restore(file, project, progress=show)
    print_result(report.as_json(), json, lambda: format_restore(report))


@app.command
def runs(project: Project, *, json: Json = False) -> None:
    """Compare runs: labels, progress and accuracy."""
    from gradebook.pipelines.reporting.run_comparison import compare, runs_table
    from gradebook.storage.project import read_project

    rows = compare(read_project(project))
    print_rows([row.as_json() for row in rows], json, lambda: runs_table(rows))


@app.command
def fetch(project: Project, *, run: EveryRun = None, json: Json = False) -> int:
    """Download the record of runs from an object store.

    The counterpart of gradebook train --record s3://bucket/prefix.
    """
    from gradebook.pipelines.training.record_upload import download_records
    from gradebook.storage.store import open_store

    with progress("fetch") as show:
        result = download_records(open_store(project), run, progress=show)
    print_result(result, json, lambda: "\n".join(f"{name}: {n} segments" for name, n in result.items()))
    return status_of(bool(result), "no run has its record elsewhere, so there is nothing to fetch")
