"""Commands about what labels are for: a test set drawn before labelling, and runs that are no longer needed."""

import sys
from typing import Annotated

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import Flag, Json, Project, app, print_result
from gradebook.pipelines.process.progress import stage
from gradebook.storage.project import ProjectError


@app.command
def split(
    project: Project,
    *,
    test: Annotated[
        int | None, arg(metavar="N", help="number of test images to draw from the unlabelled ones, in all")
    ] = None,
    seed: Annotated[int, arg(help="random seed")] = 0,
    undo: Annotated[Flag, arg(help="put the images of the newest draw back into the training split")] = False,
    json: Json = False,
) -> None:
    """Draw a fair test set before labelling.

    Draws unlabelled images by chance, the same share of each cluster of the embeddings, near-copies together. They are
    never trained on, and Review asks for their labels without showing a prediction. Without options, shows the images
    that are still to be labelled.
    """
    from gradebook.pipelines.cli.formatting import holdout_summary
    from gradebook.pipelines.curation import holdout
    from gradebook.pipelines.curation.labelling import actor
    from gradebook.storage.store import open_store

    if undo and test is not None:
        raise ProjectError("--test draws images and --undo puts them back: give one of them")
    stage("Opening the project")
    store = open_store(project)
    if undo:
        report = holdout.undo(store, actor=actor())
    elif test is not None:
        stage("Comparing images")
        report = holdout.draw(store, test, seed=seed, actor=actor())
    else:
        report = holdout.state(store)
    print_result(report.as_json(), json, lambda: holdout_summary(report.as_json(), project))


@app.command(name="delete-run")
def delete_run(
    project: Project,
    run: Annotated[Positional[str], arg(metavar="RUN", help="the run's name")],
    *,
    yes: Annotated[Flag, arg(help="delete without asking")] = False,
    json: Json = False,
) -> None:
    """Delete a run: its weights, checkpoints, predictions and record.

    Labels stay, because they are in the log. A deleted run cannot be brought back.
    """
    from gradebook.pipelines.curation.labelling import actor
    from gradebook.pipelines.maintenance import delete_run as deletion
    from gradebook.storage.store import open_store

    store = open_store(project)
    planned = deletion.plan(store, run)
    if not yes:
        _confirm(deletion.describe(planned), f"Delete {run}?")
    result = deletion.delete(store, run, actor=actor())
    print_result(result.as_json(), json, lambda: deletion.describe(result))


def _confirm(text: str, question: str) -> None:
    """Asks on the terminal.

    Raises:
        ProjectError: the answer is no, or there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise ProjectError("there is no terminal to ask on: to delete it without a question, give --yes")
    print(f"{text}\n{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ProjectError("nothing was deleted, because the answer was not yes: to delete it, answer y")
