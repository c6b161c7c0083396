"""What there is to see: the queue, the record, the numbers, the app, FiftyOne, the demo."""

import json as jsonlib
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from pipelines.commands.shared import Json, Project, RunName, answer, app
from pipelines.progress import say


@app.command
def queue(
    project: Project,
    *,
    reason: Annotated[str | None, arg(help="order by this reason alone, such as disagreement")] = None,
    limit: Annotated[int, arg(help="rows at most")] = 20,
    run: RunName = None,
    json: Json = False,
) -> None:
    """Show which images to look at next, and why."""
    from pipelines.queue_up import as_json, newest_finished, rank
    from pipelines.runs import find_run
    from storage.store import open_store

    store = open_store(project)
    chosen = find_run(store.project, run) if run else newest_finished(store.project)
    rows = rank(store, chosen, reason=reason, limit=limit)
    if json:
        print(jsonlib.dumps([as_json(row) for row in rows], ensure_ascii=False))
        return
    from pipelines.tables import queue_table

    print(queue_table(rows, chosen.name if chosen else None))


@app.command
def record(
    project: Project,
    sample: Annotated[Positional[str], arg(metavar="SAMPLE", help="a sample's id, or an image's path")],
    *,
    run: RunName = None,
    json: Json = False,
) -> None:
    """Show what teacher and student said of one image, step by step, and the feedback; without --run, of every run."""
    from pipelines.histories import history
    from storage.store import open_store

    rows = history(open_store(project), sample, run)
    if json:
        print(jsonlib.dumps(rows, ensure_ascii=False))
        return
    from pipelines.tables import record_table

    print(record_table(rows))


@app.command
def status(project: Project, *, json: Json = False) -> None:
    """Show a project in numbers: samples, labels, classes and runs."""
    from pipelines.overview import overview
    from pipelines.tables import status_table
    from storage.store import open_store

    numbers = overview(open_store(project))
    answer(numbers, json, lambda: status_table(numbers))


@app.command(name="app")
def app_(
    project: Annotated[Positional[Path | None], arg(metavar="PROJECT", help="without one, the app asks")] = None,
    *,
    port: Annotated[int, arg(help="where to serve, on this machine only")] = 8501,
) -> int:
    """Open the app in a browser."""
    from pipelines.open_app import open_app

    return open_app(project, port)


@app.command
def fiftyone(
    project: Project,
    *,
    run: RunName = None,
    port: Annotated[int | None, arg(help="where to serve, on this machine only; without one, a free port")] = None,
) -> None:
    """Open the project in FiftyOne, with fields and saved views rebuilt from the store."""
    from pipelines.open_fiftyone import open_app
    from pipelines.queue_up import newest_finished
    from pipelines.runs import find_run
    from storage.store import open_store

    store = open_store(project)
    open_app(store, find_run(store.project, run) if run else newest_finished(store.project), port=port, say=say)


@app.command
def demo(
    directory: Annotated[Positional[Path], arg(metavar="DIR", help="where to put the demo")] = Path("demo"),
    *,
    json: Json = False,
) -> None:
    """Run the whole path on handwritten digits: import, embed, train three ways, queue, export. Three minutes."""
    from pipelines.demo import demo as run_demo

    run_demo(directory, as_json=json)
