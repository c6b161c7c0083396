"""Commands that draw a test set, accept predictions after an audit, forecast accuracy, and delete a run."""

from typing import Annotated

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import (
    Flag,
    Json,
    Project,
    RunName,
    app,
    choose_run,
    confirm,
    print_result,
    status_of,
)
from gradebook.pipelines.process.progress import progress, stage
from gradebook.storage.project import ProjectError


@app.command
def split(
    project: Project,
    *,
    test: Annotated[
        int | None, arg(metavar="N", help="total number of test images to draw from the unlabelled ones")
    ] = None,
    seed: Annotated[int, arg(help="random seed")] = 0,
    undo: Annotated[Flag, arg(help="put the images of the newest draw back into the training split")] = False,
    json: Json = False,
) -> None:
    """Draw a fair test set before labelling.

    Draws random unlabelled images: the same share of each cluster of the embeddings, near-copies together. They are
    never trained on, and Review asks for their labels without showing a prediction. Without options, lists the drawn
    images that are not labelled yet.
    """
    from gradebook.pipelines.cli.curation_formatting import holdout_summary
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


@app.command(name="accept-rest")
def accept_rest(
    project: Project,
    *,
    error: Annotated[float, arg(help="largest share of the accepted labels that may be wrong")] = 0.02,
    confidence: Annotated[float, arg(help="probability that the share is not exceeded")] = 0.95,
    each_class: Annotated[Flag, arg(help="bound the error of each class separately, which needs more answers")] = False,
    run: RunName = None,
    seed: Annotated[int, arg(help="random seed of the draw")] = 0,
    cancel: Annotated[Flag, arg(help="cancel the open audit; its answers remain labels")] = False,
    json: Json = False,
) -> int:
    """Accept predictions as labels, with a bound on the error.

    The first call draws images. Label them on the page Review, which shows no predictions, or with gradebook label.
    The second call accepts the predictions that meet the bound. gradebook undo retracts all of them at once.
    docs/accept.md has the statistics.
    """
    from gradebook.pipelines.cli.curation_formatting import audit_summary
    from gradebook.pipelines.curation import accept_rest as auditing
    from gradebook.pipelines.curation.audit_draw import Request
    from gradebook.pipelines.curation.audit_files import State, open_audit
    from gradebook.pipelines.curation.labelling import actor
    from gradebook.storage.store import open_store

    store = open_store(project)
    audit = open_audit(store.project)
    if cancel:
        if audit is None:
            raise ProjectError("no audit is open: there is nothing to cancel")
        report = auditing.cancel(store, audit)
    elif audit is None:
        chosen = choose_run(store.project, run)
        request = Request(target=error, confidence=confidence, seed=seed, each_class=each_class)
        report = auditing.progress(store, auditing.begin(store, chosen, request, actor=actor()))
    elif (audit.target, audit.confidence) != (error, confidence):
        raise ProjectError(
            f"an audit with --error {audit.target:g} --confidence {audit.confidence:g} is open: continue with "
            "these, or cancel it with --cancel"
        )
    else:
        report = auditing.settle(store, audit)
    print_result(report.as_json(), json, lambda: audit_summary(report.as_json(), project))
    return status_of(report.state is not State.REFUSED, "no prediction was accepted")


@app.command
def forecast(
    project: Project,
    *,
    batch: Annotated[int, arg(help="number of labels that you would add next")] = 20,
    seed: Annotated[int, arg(help="random seed of the subsets of the labels")] = 0,
    json: Json = False,
) -> None:
    """Forecast accuracy with more labels, and say when to stop.

    Fits logistic regression to subsets of the labels, and a power law to its accuracy. The accuracy is measured on
    labelled test images, or by cross-validation if there are few. Also names the classes with the most mistakes.
    """
    from gradebook.pipelines.inference.forecast import describe
    from gradebook.pipelines.inference.forecast import forecast as run_forecast
    from gradebook.storage.store import open_store

    stage("Opening the project")
    with progress("forecast") as show:
        result = run_forecast(open_store(project), batch=batch, seed=seed, progress=show).as_json()
    print_result(result, json, lambda: describe(result))


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
        confirm(deletion.describe(planned), f"Delete {run}?", otherwise="nothing is deleted")
    result = deletion.delete(store, run, actor=actor())
    print_result(result.as_json(), json, lambda: deletion.describe(result))
