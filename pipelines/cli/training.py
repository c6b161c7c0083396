"""Commands around a classifier: train, evaluate, export, predict."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
from gradebook.pipelines.process.errors import FAILED
from gradebook.pipelines.process.progress import progress, say, stage
from gradebook.pipelines.process.terminal import json_text
from gradebook.storage.characters import escaped

if TYPE_CHECKING:
    from gradebook.pipelines.inference.classifier import Prediction


@app.command
def train() -> None:
    """Train a classifier.

    gradebook train PROJECT --help shows every setting.
    """


@app.command
def evaluate(
    project: Project,
    *,
    run: RunName = None,
    split: Annotated[
        Literal["test", "train"], arg(help="train uses only labels given after the start of the run")
    ] = "test",
    json: Json = False,
) -> None:
    """Measure a run's accuracy on the test images."""
    from gradebook.pipelines.cli.formatting import evaluation_table
    from gradebook.pipelines.inference.measure import measure
    from gradebook.storage.project import read_project

    opened = read_project(project)
    result = measure(opened, choose_run(opened, run), split).as_json()
    print_result(result, json, lambda: evaluation_table(result))


@app.command
def export(
    project: Project,
    directory: Annotated[
        Positional[Path], arg(metavar="DIR", help="a new directory, or an earlier export's, which is replaced")
    ],
    *,
    run: RunName = None,
    int8: Annotated[
        Flag, arg(help="add an int8 model, calibrated on training images; prints the lost accuracy")
    ] = False,
    torch_export: Annotated[Flag, arg(help="add model.pt2, for torch.export.load")] = False,
    openvino: Annotated[Flag, arg(help="add model.xml and model.bin, for OpenVINO")] = False,
    json: Json = False,
) -> None:
    """Export a run's student as a classifier.

    The directory holds weights for timm, an ONNX model with its preprocessing, the classes and a model card.
    """
    from dataclasses import asdict

    from gradebook.pipelines.export.classifier import export as export_run
    from gradebook.storage.store import open_store

    stage("Opening the project")
    store = open_store(project)
    with progress("export") as show:
        chosen = choose_run(store.project, run)
        given = {"int8": int8, "torch_program": torch_export, "openvino": openvino}
        report = export_run(store, chosen, directory, **given, progress=show)
    checked = f"on {report.checked} images it differs from the student by at most {report.largest_difference:.4f}"
    before = ", replacing an earlier export" if report.replaced else ""
    text = f"{report.run} is in {report.dir}{before}: {', '.join(report.files)}; {checked}"
    text += f"\n{report.int8.sentence()}" if report.int8 else ""
    if report.openvino is not None:
        text += f"\nmodel.xml, for OpenVINO, differs from onnxruntime by at most {report.openvino:.6f} in a probability"
    print_result(asdict(report), json, lambda: text)


@app.command(name="export-labels")
def export_labels(
    project: Project,
    out: Annotated[Positional[Path], arg(metavar="OUT", help="a new file; for folder and fiftyone a new directory")],
    *,
    format: Annotated[  # noqa: A002  # the option's name
        Literal["csv", "parquet", "coco", "label-studio", "cvat", "folder", "fiftyone", "huggingface"],
        arg(
            help="folder copies the images to OUT/SPLIT/CLASS, huggingface puts them into Parquet files, and the "
            "others only name them"
        ),
    ] = "csv",
    rejected: Annotated[Flag, arg(help="export the rejected images instead, with the label rejected")] = False,
    predictions: Annotated[
        Flag,
        arg(help="export a run's predictions for the images without a label (csv, parquet, label-studio, fiftyone)"),
    ] = False,
    run: Annotated[
        str | None, arg(metavar="NAME", help="the run that predicts, or best; by default the newest finished run")
    ] = None,
    relative: Annotated[Flag, arg(help="write paths relative to the directory of OUT")] = False,
    json: Json = False,
) -> int:
    """Export labels or predictions for other programs.

    Never overwrites a file, except those of an earlier export in the same format to the same directory.
    """
    from gradebook.pipelines.export.labels import What, summarize
    from gradebook.pipelines.export.labels import export_labels as write_labels
    from gradebook.storage.project import ProjectError
    from gradebook.storage.store import open_store

    stage("Opening the project")
    store = open_store(project)
    if rejected and predictions:
        raise ProjectError("--rejected and --predictions are two exports: give one of them")
    chosen = choose_run(store.project, run) if predictions else None
    what: What = "rejected" if rejected else "predictions" if predictions else "labels"
    with progress("export-labels") as show:
        report = write_labels(store, out, format, what=what, run=chosen, relative=relative, progress=show)
    result = report.as_json()
    print_result(result, json, lambda: summarize(result))
    return status_of(report.labels > 0, "nothing was exported: none of the images can be read")


@app.command
def push(
    classifier: Annotated[Positional[Path], arg(metavar="CLASSIFIER", help="an exported classifier")],
    repository: Annotated[Positional[str], arg(metavar="OWNER/NAME", help="a repository; it is made if need be")],
    *,
    public: Annotated[Flag, arg(help="let everybody read it; by default only its owner can")] = False,
    yes: Annotated[Flag, arg(help="upload without asking")] = False,
    json: Json = False,
) -> None:
    """Upload an exported classifier to the Hugging Face hub.

    Lists what would be uploaded and who can read it, then asks. Only the files of the export are sent, no image.
    """
    from gradebook.pipelines.export import hub

    directory = classifier.expanduser()
    planned = hub.plan(directory, repository, public=public)
    if yes:
        say(planned.describe())
    else:
        confirm(planned.describe(), f"Upload {len(planned.files)} files?", otherwise="nothing is uploaded")
    result = hub.upload(directory, planned)
    print_result(result.as_json(), json, lambda: f"{len(result.files)} files are at {result.address}")


@app.command
def predict(
    directory: Annotated[Positional[Path], arg(metavar="DIR", help="an exported classifier")],
    images: Annotated[
        Positional[list[str]], arg(metavar="IMAGES", help="image files and folders; - reads names from standard input")
    ],
    *,
    out: Annotated[
        Path | None, arg(metavar="FILE", help="CSV file to write; if it exists, its images are not predicted again")
    ] = None,
    urls: Annotated[Flag, arg(help="download images whose names are addresses (http, https)")] = False,
    json: Json = False,
) -> int:
    """Predict the classes of images with an exported classifier.

    Needs neither the project nor torch.
    """
    import sys

    from gradebook.pipelines.inference.classifier import load_classifier
    from gradebook.pipelines.inference.named_images import check_names, expand_names, predict_names
    from gradebook.pipelines.inference.predict_csv import into_file

    broken: list[str] = []
    names = expand_names(images, lambda: sys.stdin.buffer.read())
    check_names(names, urls=urls and out is None)
    with progress("predict") as show:
        if out is not None:
            counts = into_file(out, directory, list(map(Path, names)), broken=broken.append, progress=show)
            text = f"{counts['predicted']} images predicted, {counts['before']} before: {out}"
            print_result(counts, json, lambda: text)
            count = counts["predicted"] + counts["before"]
        else:
            classifier = load_classifier(directory)
            count = _print_predictions(predict_names(classifier, names, broken=broken.append, progress=show), json)
    for message in broken:
        say(f"gradebook: {message}")
    if broken and not count:
        return FAILED  # each broken image has a line already
    return status_of(count > 0, "there are no images there: files are recognised as images by their suffix")


def _print_predictions(predictions: "Iterable[Prediction]", as_json: bool) -> int:
    """Prints predictions, as text one by one; returns how many there were."""
    if as_json:
        rows = [prediction.as_json() for prediction in predictions]
        print(json_text(rows))
        return len(rows)
    count = 0
    for prediction in predictions:
        label, filepath = escaped(prediction.label), escaped(prediction.filepath)
        print(f"{label}  {prediction.probability:.1%}  {filepath}")
        count += 1
    return count
