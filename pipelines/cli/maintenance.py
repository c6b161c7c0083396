"""Keeping the book: is all well, who said what, take it back, the folder has moved, the runs side by side."""

import json as jsonlib
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from gradebook.pipelines.cli.options import Json, Project, RunName, answer, app
from gradebook.pipelines.process.progress import progress

REMAIN = 1  # exit status: findings remain
Flag = FlagCreatePairsOff[bool]


@app.command
def verify(
    project: Project,
    *,
    content: Annotated[Flag, arg(help="read every file, vector, segment and checkpoint too")] = False,
    mend: Annotated[Flag, arg(help="mend what can be derived; never an event, never a file of yours")] = False,
    json: Json = False,
) -> int:
    """Check that nothing is lost, torn or out of place, and how to mend it. Exit status 1 if findings remain."""
    from gradebook.pipelines.maintenance.verify import report_words
    from gradebook.pipelines.maintenance.verify import verify as run_verify

    report = run_verify(project, content=content, mend=mend)
    answer(report.as_json(), json, lambda: report_words(report))
    return REMAIN if report.findings else 0


@app.command
def history(
    project: Project,
    sample: Annotated[Positional[str | None], arg(metavar="SAMPLE", help="a sample's id, or an image's path")] = None,
    *,
    limit: Annotated[int, arg(help="events at most")] = 50,
    actor: Annotated[str | None, arg(help="only what this person, import or run:NAME said")] = None,
    json: Json = False,
) -> None:
    """Show who said what when, newest first: of one image, or of all."""
    from gradebook.pipelines.reporting.audit_log import audit_log_table, read_audit_log
    from gradebook.storage.store import open_store

    rows = read_audit_log(open_store(project), sample, actor=actor, limit=limit)
    print(jsonlib.dumps([row.as_json() for row in rows], ensure_ascii=False) if json else audit_log_table(rows))


@app.command
def undo(
    project: Project,
    event: Annotated[Positional[str], arg(metavar="EVENT", help="an event's id, from gradebook history")],
    *,
    json: Json = False,
) -> None:
    """Take a verdict back, or an undo: one more row in the log, so that what stood before stands again."""
    from gradebook.pipelines.curation.labelling import actor
    from gradebook.pipelines.reporting.audit_log import undo as take_back
    from gradebook.storage.events import replay
    from gradebook.storage.store import open_store

    store = open_store(project)
    row = take_back(store, event, actor=actor())
    label = replay(store.log.read()).get(row.sample_id)
    told = {"event_id": row.event_id, "undone": event, "sample_id": row.sample_id, "label": label}
    answer(told, json, lambda: f"undone; the label of {row.sample_id} is now {label or 'none'}")


@app.command
def relocate(
    project: Project,
    old: Annotated[Positional[Path], arg(metavar="OLD", help="the folder as it was called at import")],
    new: Annotated[Positional[Path], arg(metavar="NEW", help="where it is now")],
    *,
    dry_run: Annotated[Flag, arg(help="only say what would be done")] = False,
    json: Json = False,
) -> None:
    """Tell the project that a folder of images has moved. Labels stay: they belong to the images' content."""
    from gradebook.pipelines.maintenance.relocate import relocate as run_relocate
    from gradebook.pipelines.maintenance.relocate import relocation_words
    from gradebook.storage.store import open_store

    with progress("relocate") as show:
        done = run_relocate(open_store(project), old, new, dry_run=dry_run, progress=show).as_json()
    answer(done, json, lambda: relocation_words(done))


@app.command
def forget(
    project: Project,
    below: Annotated[Positional[Path], arg(metavar="PATH", help="a folder, or a file, that was deleted on purpose")],
    *,
    dry_run: Annotated[Flag, arg(help="only say what would be done")] = False,
    json: Json = False,
) -> None:
    """Take files that were deleted on purpose off the catalogue. What was said of them stays in the log."""
    from gradebook.pipelines.maintenance.forget import forget as run_forget
    from gradebook.storage.store import open_store

    gone = run_forget(open_store(project), below, dry_run=dry_run)
    said = f"{len(gone)} files {'would be' if dry_run else 'are'} forgotten: import them again to undo"
    answer({"files": gone, "dry_run": dry_run}, json, lambda: said)


@app.command
def runs(project: Project, *, json: Json = False) -> None:
    """Show a project's runs side by side: labels that each has read, how far it is, validation and test accuracy."""
    from gradebook.pipelines.reporting.run_comparison import compare, runs_table
    from gradebook.storage.project import read_project

    rows = compare(read_project(project))
    print(jsonlib.dumps([row.as_json() for row in rows], ensure_ascii=False) if json else runs_table(rows))


@app.command
def fetch(project: Project, *, run: RunName = None, json: Json = False) -> None:
    """Bring the record of runs here from where it was sent (train --record s3://...). Without --run, of every run."""
    from gradebook.pipelines.training.record_upload import download_records
    from gradebook.storage.store import open_store

    with progress("fetch") as show:
        brought = download_records(open_store(project), run, progress=show)
    answer(
        brought, json, lambda: "\n".join(f"{name}: {n} segments" for name, n in brought.items()) or "nothing to bring"
    )
