"""Commands to look at a project: the queue, the record, the numbers, the map, the app, FiftyOne, the demo."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import (
    EveryRun,
    Flag,
    Json,
    Project,
    RunName,
    app,
    print_result,
    print_rows,
    status_of,
)
from gradebook.pipelines.cli.serve_app import DEFAULT_PORT
from gradebook.pipelines.process.progress import progress, say, stage
from gradebook.storage.project import ProjectError


@app.command
def queue(
    project: Project,
    *,
    reason: Annotated[str | None, arg(metavar="NAME", help="order by this reason alone, such as disagreement")] = None,
    limit: Annotated[int, arg(help="maximum number of images")] = 20,
    spread: Annotated[
        bool, arg(help="choose a diverse batch; --no-spread and --reason order strictly by score")
    ] = True,
    labelled: Annotated[Flag, arg(help="show labels that are probably wrong, instead of unlabelled images")] = False,
    run: RunName = None,
    json: Json = False,
) -> None:
    """Show which images to review next, and why."""
    from gradebook.pipelines.cli.formatting import queue_table
    from gradebook.pipelines.curation.evidence import unread_segments
    from gradebook.pipelines.curation.queue_items import GIVEN, as_json
    from gradebook.pipelines.curation.review_queue import rank
    from gradebook.pipelines.runs import find_run, newest_finished
    from gradebook.storage.sample_files import changed_samples
    from gradebook.storage.store import open_store

    store = open_store(project)
    chosen = find_run(store.project, run) if run else newest_finished(store.project)
    if chosen is not None and (missing := unread_segments(store, chosen)):
        say(f"{project} is read-only: the reasons lack {missing} segments that {chosen.name} has recorded")
    if labelled and reason not in (None, GIVEN):
        raise ProjectError(f"--labelled orders by {GIVEN}: leave out --reason {reason}")
    rows = rank(store, chosen, reason=GIVEN if labelled else reason, limit=limit, spread=spread and reason is None)
    samples = store.catalog.samples(among=[row.sample_id for row in rows])
    changed = {sample.sample_id for sample in changed_samples(store.catalog, samples)}
    result = [{**as_json(row), "changed": row.sample_id in changed} for row in rows]
    print_rows(result, json, lambda: queue_table(rows, chosen.name if chosen else None, changed, reason=reason))


@app.command
def neighbours(
    project: Project,
    sample: Annotated[Positional[str], arg(metavar="SAMPLE", help="a labelled sample's id, or its image's path")],
    *,
    limit: Annotated[int, arg(help="maximum number of images")] = 12,
    propose: Annotated[Flag, arg(help="put them first in the queue, with the label as a proposal")] = False,
    json: Json = False,
) -> int:
    """Show the unlabelled images most similar to a labelled one.

    With --propose, reviewers see them first. This labels no image.
    """
    from gradebook.pipelines.cli.formatting import neighbours_table
    from gradebook.pipelines.curation import label_propagation, labelling
    from gradebook.pipelines.reporting.sample_history import find_sample
    from gradebook.storage.store import open_store

    store = open_store(project)
    rows = label_propagation.neighbours(store, find_sample(store, sample), limit=limit)
    if propose:
        count = label_propagation.propose(store, rows, actor=labelling.actor())
        say(f"{count} images are now first in the queue; none is labelled until somebody reviews it")
    print_rows([label_propagation.as_json(row) for row in rows], json, lambda: neighbours_table(rows))
    return status_of(bool(rows) or not propose, "every image has a label, so there is none to propose")


@app.command
def agreement(
    project: Project,
    *,
    answers: Annotated[
        int | None, arg(metavar="K", help="ask K reviewers about each image from now on; 1 asks one, as at first")
    ] = None,
    json: Json = False,
) -> None:
    """Show how far several reviewers of the same images agree.

    Review asks further reviewers about images that somebody has labelled, without the earlier answers. An image whose
    answers differ has no label in training until somebody settles it: gradebook queue --reason reviewers_disagree.
    """
    from gradebook.pipelines.curation.labelling import actor
    from gradebook.pipelines.reporting.reviewer_agreement import describe, reviewer_agreement
    from gradebook.storage.project import set_answers
    from gradebook.storage.store import open_store

    store = open_store(project)
    if answers is not None:
        set_answers(store.project, answers)
        store = open_store(project)
    result = reviewer_agreement(store, actor=actor())
    print_result(result.as_json(), json, lambda: describe(result))


@app.command
def record(
    project: Project,
    sample: Annotated[Positional[str], arg(metavar="SAMPLE", help="a sample's id, or an image's path")],
    *,
    run: EveryRun = None,
    json: Json = False,
) -> None:
    """Show what each training step predicted for an image.

    A row has the predictions of teacher and student, and the feedback.
    """
    from gradebook.pipelines.cli.formatting import record_table
    from gradebook.pipelines.reporting.sample_history import history
    from gradebook.storage.store import open_store

    rows = history(open_store(project), sample, run)
    print_rows(rows, json, lambda: record_table(rows))


@app.command(name="map")
def map_(
    project: Project,
    *,
    backbone: Annotated[
        str | None, arg(metavar="NAME", help="the backbone of the embeddings; by default the newest")
    ] = None,
    seed: Annotated[int, arg(help="random seed")] = 0,
    json: Json = False,
) -> None:
    """Compute the map of similar images, for the app.

    Places every training image in two dimensions by t-SNE.
    """
    from gradebook.pipelines.cli.formatting import map_summary
    from gradebook.pipelines.embedding.map_projection import compute_map
    from gradebook.storage.store import open_store

    stage("Opening the project")
    with progress("map") as show:
        store = open_store(project)
        report = compute_map(
            store, backbone=backbone, seed=seed, on_progress=lambda what, n, of: show(n, of or None, what=what)
        )
    result = report.as_json()
    print_result(result, json, lambda: map_summary(result))


@app.command
def status(project: Project, *, json: Json = False) -> None:
    """Show a project in numbers: images, labels, runs."""
    from gradebook.pipelines.cli.formatting import status_table
    from gradebook.pipelines.reporting.project_stats import summarize_project
    from gradebook.storage.store import open_store

    numbers = summarize_project(open_store(project))
    print_result(numbers, json, lambda: status_table(numbers))


@app.command(name="app")
def app_(
    project: Annotated[
        Positional[Path | None], arg(metavar="[PROJECT]", help="the project's directory; without it, the app asks")
    ] = None,
    *,
    port: Annotated[int, arg(metavar="PORT", help="port, on this machine only")] = DEFAULT_PORT,
    token: Annotated[bool, arg(help="require the token in the printed link")] = True,
) -> int:
    """Open the app in the browser.

    Only users who have the printed link can use it, also on machines with several users.
    """
    from gradebook.pipelines.cli.serve_app import open_app

    return open_app(project, port, token=token)


@app.command
def fiftyone(
    project: Project,
    *,
    run: RunName = None,
    port: Annotated[int | None, arg(metavar="PORT", help="port, on this machine only; by default a free one")] = None,
) -> None:
    """Open the project in FiftyOne.

    Fields and saved views are brought up to date first, and after each snapshot of a live session.
    """
    from gradebook.pipelines.fiftyone_app.launch import open_app
    from gradebook.pipelines.runs import find_run, newest_finished
    from gradebook.storage.store import open_store

    store = open_store(project)
    shown = find_run(store.project, run) if run else newest_finished(store.project)
    open_app(store, shown, port=port, follow=run is None, say=say)


@app.command
def demo(
    directory: Annotated[Positional[Path], arg(metavar="[DIR]", help="directory of the demo")] = Path("demo"),
    *,
    json: Json = False,
) -> None:
    """Run a complete example on handwritten digits, in three minutes.

    Imports and embeds them, trains with three methods, ranks the queue and exports a classifier.
    """
    from gradebook.pipelines.demo import demo as run_demo

    run_demo(directory, as_json=json)
