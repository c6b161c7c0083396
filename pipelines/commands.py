"""The subcommands of `gradebook`: each is one job, and what it needs is imported when it is called."""

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg
from tyro.extras import SubcommandApp

from pipelines.errors import FAILED
from pipelines.progress import progress, say

app = SubcommandApp()

Project = Annotated[Positional[Path], arg(metavar="PROJECT", help="the project's directory")]
Json = Annotated[FlagCreatePairsOff[bool], arg(help="answer with JSON on standard output")]
RunName = Annotated[str | None, arg(help="the run's name; without one, the newest that finished")]


@app.command
def init(project: Project, *, classes: Annotated[str, arg(help="the classes' names, as a,b,c")] = "") -> None:
    """Make a project directory. Classes can be added later, or come with an import."""
    from storage.project import create_project

    made = create_project(project, [name for name in classes.split(",") if name.strip() or classes.strip(",")])
    print(f"made {made.root} with {len(made.classes)} classes; next: gradebook import {project} IMAGES")


@app.command
def classes(
    project: Project, *, add: Annotated[str, arg(help="names to add at the end, as a,b,c")] = "", json: Json = False
) -> None:
    """List a project's classes, or add some."""
    from storage.project import add_classes, read_project

    opened = read_project(project)
    opened = add_classes(opened, add.split(",")) if add else opened
    print(jsonlib.dumps(list(opened.classes)) if json else "\n".join(opened.classes))


@app.command(name="import")
def import_(
    project: Project,
    images: Annotated[Positional[Path], arg(metavar="IMAGES", help="a folder, searched through, or one image")],
    *,
    labels: Annotated[str, arg(help="none, folders (the folder's name is the label), or a CSV of filepath,label")] = (
        "none"
    ),
    split: Annotated[Literal["train", "test"], arg(help="test images are never trained on")] = "train",
    json: Json = False,
) -> None:
    """Take images into the catalogue, where they are: nothing is copied, moved or changed. Again means: what is new."""
    from pipelines.import_images import import_images
    from pipelines.tables import import_words
    from storage.samples import Split
    from storage.store import open_store

    with progress("import") as show:
        report = import_images(open_store(project), images, labels=labels, split=Split(split), progress=show)
    found = report.as_json()
    _answer(found, json, lambda: import_words(found))


@app.command
def embed(
    project: Project,
    *,
    backbone: Annotated[str, arg(help="timm's name of the frozen network")] = "tf_efficientnet_lite0",
    views: Annotated[int, arg(help="cached views an image: 2 weak, the others strong")] = 5,
    size: Annotated[int | None, arg(help="pixels a side; without it 64 for small images, else 224")] = None,
    weights: Annotated[Literal["pretrained", "random"], arg(help="random only to try things out")] = "pretrained",
    json: Json = False,
) -> None:
    """Run a frozen backbone over every image and keep its vectors, for training and for finding neighbours."""
    from pipelines.embed import embed as run_embed
    from pipelines.tables import embed_words
    from storage.store import open_store

    with progress("embed") as show:
        report = run_embed(
            open_store(project), backbone=backbone, views=views, size=size, weights=weights, progress=show
        )
    _answer(report.as_json(), json, lambda: embed_words(report.as_json()))


@app.command
def label(
    project: Project,
    file: Annotated[Positional[Path | None], arg(metavar="FILE.csv", help="columns filepath,label")] = None,
    *,
    sample: Annotated[str | None, arg(help="a sample's id, instead of a file")] = None,
    label: Annotated[str | None, arg(help="its label")] = None,
    json: Json = False,
) -> None:
    """Give labels, from a CSV file or to one sample. Each is a verdict in the log, with your name."""
    from pipelines.label import label_file, label_sample
    from storage.project import ProjectError
    from storage.store import open_store

    store = open_store(project)
    if file is not None and sample is None and label is None:
        report = label_file(store, file)
    elif file is None and sample is not None and label is not None:
        report = label_sample(store, sample, label)
    else:
        raise ProjectError(
            f"give a file, or a sample and its label: gradebook label {project} --sample ID --label NAME"
        )
    for place, why in report.problems:
        say(f"{place}: {why}")
    _answer(report.as_json(), json, lambda: f"{report.labelled} labels given, {report.unchanged} were so already")


@app.command
def train() -> None:
    """Train a classifier: gradebook train PROJECT --help shows every setting."""


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
    _answer(numbers, json, lambda: status_table(numbers))


@app.command
def evaluate(
    project: Project,
    *,
    run: RunName = None,
    split: Annotated[
        Literal["test", "train"], arg(help="train: only labels given since the run read its own")
    ] = "test",
    json: Json = False,
) -> None:
    """Compare a run's student with the labels of the test split."""
    from pipelines.evaluate import evaluate as compare
    from pipelines.runs import find_run
    from pipelines.tables import evaluation_table
    from storage.samples import Split
    from storage.store import open_store

    store = open_store(project)
    result = compare(store, find_run(store.project, run), split=Split(split)).as_json()
    _answer(result, json, lambda: evaluation_table(result))


@app.command
def export(
    project: Project,
    directory: Annotated[Positional[Path], arg(metavar="DIR", help="a new directory")],
    *,
    run: RunName = None,
    json: Json = False,
) -> None:
    """Write a run's student as a directory of its own: for timm, ONNX with preprocessing, classes, model card."""
    from dataclasses import asdict

    from pipelines.export import export as write
    from pipelines.runs import find_run
    from storage.store import open_store

    store = open_store(project)
    done = write(store, find_run(store.project, run), directory)
    checked = f"on {done.checked} images it differs from the student by at most {done.largest_difference:.4f}"
    _answer(asdict(done), json, lambda: f"{done.run} is in {done.dir}: {', '.join(done.files)}; {checked}")


@app.command
def predict(
    directory: Annotated[Positional[Path], arg(metavar="DIR", help="an exported classifier")],
    images: Annotated[Positional[list[Path]], arg(metavar="IMAGES", help="image files and folders")],
    *,
    json: Json = False,
) -> int:
    """Predict with an exported classifier; needs neither the project nor torch."""
    from pipelines.predict import predict as run_predict

    broken: list[str] = []
    found = [p.as_json() for p in run_predict(directory, images, broken=broken.append)]
    if json:
        print(jsonlib.dumps(found, ensure_ascii=False))
    else:
        for row in found:
            print(f"{row['label']}  {row['probability']:.1%}  {row['filepath']}")
    for sentence in broken:
        say(f"gradebook: {sentence}")
    return FAILED if broken and not found else 0


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


def _answer(value: dict[str, Any], as_json: bool, words: Any) -> None:
    print(jsonlib.dumps(value, ensure_ascii=False) if as_json else words())
