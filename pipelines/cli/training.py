"""From labels to a classifier: train, compare, export, predict."""

import json as jsonlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from gradebook.pipelines.cli.options import Json, Project, RunName, answer, app
from gradebook.pipelines.process.errors import FAILED
from gradebook.pipelines.process.progress import progress, say, stage

if TYPE_CHECKING:
    from gradebook.pipelines.inference.predict import Prediction


@app.command
def train() -> None:
    """Train a classifier: gradebook train PROJECT --help shows every setting."""


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
    from gradebook.pipelines.cli.formatting import evaluation_table
    from gradebook.pipelines.inference.evaluate import evaluate as compare
    from gradebook.pipelines.inference.evaluate import evaluate_beside_data, is_beside_data
    from gradebook.pipelines.reporting.run_comparison import save_evaluation
    from gradebook.pipelines.runs import find_run
    from gradebook.storage.project import read_project
    from gradebook.storage.samples import Split

    opened = read_project(project)
    chosen = find_run(opened, run)
    if is_beside_data(chosen):
        found = evaluate_beside_data(opened, chosen)
    else:
        from gradebook.storage.store import open_store

        found = compare(open_store(project), chosen, split=Split(split))
    result = found.as_json()
    if split == "test":
        save_evaluation(chosen, result)
    answer(result, json, lambda: evaluation_table(result))


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

    from gradebook.pipelines.export.classifier import export as write
    from gradebook.pipelines.runs import find_run
    from gradebook.storage.store import open_store

    stage("Opening the project")
    store = open_store(project)
    with progress("export") as show:
        done = write(store, find_run(store.project, run), directory, progress=show)
    checked = f"on {done.checked} images it differs from the student by at most {done.largest_difference:.4f}"
    answer(asdict(done), json, lambda: f"{done.run} is in {done.dir}: {', '.join(done.files)}; {checked}")


@app.command(name="export-labels")
def export_labels(
    project: Project,
    out: Annotated[Positional[Path], arg(metavar="OUT", help="a new file; for folder and fiftyone a new directory")],
    *,
    format: Annotated[  # noqa: A002  # the flag's name
        Literal["csv", "parquet", "coco", "folder", "fiftyone"],
        arg(help="folder copies the images to OUT/SPLIT/CLASS; the others only name them"),
    ] = "csv",
    json: Json = False,
) -> None:
    """Write the labels as they stand, for other programs. Images are copied at most; nothing is written over."""
    from gradebook.pipelines.export.labels import export_labels as write
    from gradebook.pipelines.export.labels import words
    from gradebook.storage.store import open_store

    stage("Opening the project")
    with progress("export-labels") as show:
        done = write(open_store(project), out, format, progress=show).as_json()
    answer(done, json, lambda: words(done))


@app.command
def predict(
    directory: Annotated[Positional[Path], arg(metavar="DIR", help="an exported classifier")],
    images: Annotated[Positional[list[Path]], arg(metavar="IMAGES", help="image files and folders")],
    *,
    out: Annotated[Path | None, arg(help="write them into this CSV file, or go on with it after a stop")] = None,
    json: Json = False,
) -> int:
    """Predict with an exported classifier; needs neither the project nor torch."""
    from gradebook.pipelines.inference.predict import predict as run_predict
    from gradebook.pipelines.inference.predict_csv import into_file

    broken: list[str] = []
    with progress("predict") as show:
        if out is not None:
            counted = into_file(out, directory, images, broken=broken.append, progress=show)
            answer(counted, json, lambda: f"{counted['predicted']} images predicted, {counted['before']} before: {out}")
            found = counted["predicted"] + counted["before"]
        else:
            said = run_predict(directory, images, broken=broken.append, progress=show)
            found = _print(said, json)
    for sentence in broken:
        say(f"gradebook: {sentence}")
    return FAILED if broken and not found else 0


def _print(said: "Iterator[Prediction]", as_json: bool) -> int:
    """Prints predictions, those for people as they come; returns how many there were."""
    if as_json:
        rows = [one.as_json() for one in said]
        print(jsonlib.dumps(rows, ensure_ascii=False))
        return len(rows)
    count = 0
    for one in said:
        print(f"{one.label}  {one.probability:.1%}  {one.filepath}")
        count += 1
    return count
