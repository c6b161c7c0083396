"""What there is to see: the queue, the record, the numbers, the app, FiftyOne, the demo."""

import json as jsonlib
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from gradebook.pipelines.cli.options import Json, Project, RunName, answer, app
from gradebook.pipelines.process.progress import progress, say, stage
from gradebook.storage.project import ProjectError


@app.command
def queue(
    project: Project,
    *,
    reason: Annotated[str | None, arg(help="order by this reason alone, such as disagreement")] = None,
    limit: Annotated[int, arg(help="rows at most: what you have time for")] = 20,
    spread: Annotated[bool, arg(help="a batch that covers what is in doubt; else, and with --reason, by score")] = True,
    labelled: Annotated[
        FlagCreatePairsOff[bool], arg(help="labels that are probably wrong, instead of guesses")
    ] = False,
    run: RunName = None,
    json: Json = False,
) -> None:
    """Show which images to look at next, and why."""
    from gradebook.pipelines.curation.queue_items import GIVEN, as_json
    from gradebook.pipelines.curation.review_queue import rank
    from gradebook.pipelines.runs import find_run, newest_finished
    from gradebook.storage.store import open_store

    store = open_store(project)
    chosen = find_run(store.project, run) if run else newest_finished(store.project)
    if labelled and reason not in (None, GIVEN):
        raise ProjectError(f"--labelled orders by {GIVEN}: leave out --reason {reason}")
    rows = rank(store, chosen, reason=GIVEN if labelled else reason, limit=limit, spread=spread and reason is None)
    if json:
        print(jsonlib.dumps([as_json(row) for row in rows], ensure_ascii=False))
        return
    from gradebook.pipelines.cli.formatting import queue_table

    print(queue_table(rows, chosen.name if chosen else None))


@app.command
def neighbours(
    project: Project,
    sample: Annotated[Positional[str], arg(metavar="SAMPLE", help="a labelled sample's id, or its image's path")],
    *,
    limit: Annotated[int, arg(help="images at most")] = 12,
    propose: Annotated[
        FlagCreatePairsOff[bool], arg(help="put them at the front of the queue; labels nothing")
    ] = False,
    json: Json = False,
) -> None:
    """Show the unlabelled images most like a labelled one, with its label as a proposal."""
    from gradebook.pipelines.curation import label_propagation, labelling
    from gradebook.pipelines.reporting.sample_history import find_sample
    from gradebook.storage.store import open_store

    store = open_store(project)
    found = label_propagation.neighbours(store, find_sample(store, sample), limit=limit)
    if propose:
        new = label_propagation.propose(store, found, actor=labelling.actor())
        say(f"{new} images are at the front of the queue now; nothing is labelled before somebody looks at them")
    if json:
        print(jsonlib.dumps([label_propagation.as_json(one) for one in found], ensure_ascii=False))
        return
    for one in found:
        print(f"{one.label}?  {one.similarity:.3f}  {one.filepath}  {one.sample_id}")


@app.command
def record(
    project: Project,
    sample: Annotated[Positional[str], arg(metavar="SAMPLE", help="a sample's id, or an image's path")],
    *,
    run: RunName = None,
    json: Json = False,
) -> None:
    """Show what teacher and student said of one image, step by step, and the feedback; without --run, of every run."""
    from gradebook.pipelines.reporting.sample_history import history
    from gradebook.storage.store import open_store

    rows = history(open_store(project), sample, run)
    if json:
        print(jsonlib.dumps(rows, ensure_ascii=False))
        return
    from gradebook.pipelines.cli.formatting import record_table

    print(record_table(rows))


@app.command(name="map")
def map_(
    project: Project,
    *,
    backbone: Annotated[str | None, arg(help="whose vectors; without it the newest that there are")] = None,
    seed: Annotated[int, arg(help="of everything random in the map")] = 0,
    json: Json = False,
) -> None:
    """Place every image to train on in two dimensions, like images together, for the app's page Map."""
    from gradebook.pipelines.cli.formatting import map_words
    from gradebook.pipelines.embedding.map_projection import make
    from gradebook.storage.store import open_store

    stage("Opening the project")
    with progress("map") as show:
        store = open_store(project)
        report = make(store, backbone=backbone, seed=seed, tell=lambda what, n, of: show(n, of or None, what=what))
    answer(report.as_json(), json, lambda: map_words(report.as_json()))


@app.command
def status(project: Project, *, json: Json = False) -> None:
    """Show a project in numbers: samples, labels, classes and runs."""
    from gradebook.pipelines.cli.formatting import status_table
    from gradebook.pipelines.reporting.project_stats import summarize_project
    from gradebook.storage.store import open_store

    numbers = summarize_project(open_store(project))
    answer(numbers, json, lambda: status_table(numbers))


@app.command(name="app")
def app_(
    project: Annotated[Positional[Path | None], arg(metavar="PROJECT", help="without one, the app asks")] = None,
    *,
    port: Annotated[int, arg(help="where to serve, on this machine only")] = 8501,
) -> int:
    """Open the app in a browser."""
    from gradebook.pipelines.cli.serve_app import open_app

    return open_app(project, port)


@app.command
def fiftyone(
    project: Project,
    *,
    run: RunName = None,
    port: Annotated[int | None, arg(help="where to serve, on this machine only; without one, a free port")] = None,
) -> None:
    """Open the project in FiftyOne, with fields and saved views rebuilt from the store."""
    from gradebook.pipelines.fiftyone_app.launch import open_app
    from gradebook.pipelines.runs import find_run, newest_finished
    from gradebook.storage.store import open_store

    store = open_store(project)
    open_app(store, find_run(store.project, run) if run else newest_finished(store.project), port=port, say=say)


@app.command
def demo(
    directory: Annotated[Positional[Path], arg(metavar="DIR", help="where to put the demo")] = Path("demo"),
    *,
    json: Json = False,
) -> None:
    """Run the whole path on handwritten digits: import, embed, train three ways, queue, export. Three minutes."""
    from gradebook.pipelines.demo import demo as run_demo

    run_demo(directory, as_json=json)
