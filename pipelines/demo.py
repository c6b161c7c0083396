"""The whole path on real images that come with scikit-learn: 1,797 handwritten digits, 3 labels a class.

Digits are hard for a backbone that was trained on photographs, and three labels a class are few: what the demo shows
is what pseudo-labels do then, without feedback and with it.
"""

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.process.progress import progress, say
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store

MARKER = "gradebook-demo.json"  # says that a directory is a demo of ours, which another demo may replace
TEST_IMAGES = 600  # images of the test split
LABELS_PER_CLASS = 3  # a class
SCALE = 8  # times: the digits are 8 x 8 pixels
SEED = 0
VIEWS = 2  # the plain image and the mirrored one: more take longer than all the trainings
METHODS = ("supervised", "uda", "mpl")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What the demo ends with."""

    project: str
    accuracy: dict[str, float]  # method -> share of the test images that its student finds
    test_images: int
    labels: int
    queue: list[dict[str, Any]]
    exported: str
    seconds: float


def demo(directory: Path, *, as_json: bool) -> DemoReport:
    """Makes images and a project in a directory, trains three ways on the same labels, queues and exports.

    Raises:
        ProjectError: the directory holds something else than an earlier demo.
    """
    began = time.monotonic()
    root = _fresh(directory)
    say(f"1/5  images: handwritten digits from scikit-learn, as PNG files in {root / 'images'}")
    write_digits(root / "images")
    store = _imported(root)
    say("3/5  embed: a frozen backbone looks at every image once")
    _embedded(store)
    say(f"4/5  train: supervised, UDA and Meta Pseudo Labels on the same {LABELS_PER_CLASS * 10} labels")
    accuracy = {method: _trained(store, method) for method in METHODS}
    say("5/5  queue and export")
    report = _finished(store, accuracy, root, began)
    if as_json:
        from dataclasses import asdict

        print(json.dumps(asdict(report), ensure_ascii=False))
    else:
        print(_in_words(report))
    return report


def write_digits(directory: Path) -> None:
    """Writes `train/` and `test/CLASS/` PNG files and `labels.csv` with the few labels, the same ones each time."""
    import csv

    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    given: dict[int, int] = {}
    rows = []
    for place, k in enumerate(order):
        name, test = int(digits.target[k]), place < TEST_IMAGES
        folder = directory / "test" / str(name) if test else directory / "train"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"digit-{k:04d}.png"
        grey = Image.fromarray((255 - digits.images[k] * 255 / 16).astype(np.uint8))
        grey.resize((8 * SCALE, 8 * SCALE), Image.Resampling.BICUBIC).save(path)
        if not test and given.get(name, 0) < LABELS_PER_CLASS:
            given[name] = given.get(name, 0) + 1
            rows.append((f"train/{path.name}", str(name)))
    with (directory / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("filepath", "label"), *rows])


def _fresh(directory: Path) -> Path:
    """Returns an empty directory for the demo; an earlier demo there is taken away, anything else is left alone."""
    root = directory.expanduser().resolve()
    if root.exists() and any(root.iterdir()):
        if not (root / MARKER).exists():
            raise ProjectError(f"{root} holds other files: choose another directory with: gradebook demo DIR")
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / MARKER).write_text("{}\n", encoding="utf-8")
    return root


def _imported(root: Path) -> "Store":
    from gradebook.pipelines.importing.import_images import import_images
    from gradebook.storage.store import open_store

    say("2/5  import: 1,197 images to train on, 600 labelled ones to test on")
    project = create_project(root / "project", [str(digit) for digit in range(10)])
    store = open_store(project.root)
    images = root / "images"
    with progress("import") as show:
        import_images(store, images / "train", labels=str(images / "labels.csv"), progress=show)
        import_images(store, images / "test", labels="folders", split=Split.TEST, progress=show)
    return store


def _embedded(store: "Store") -> None:
    from gradebook.pipelines.embedding.embed import embed

    with progress("embed") as show:
        report = embed(store, views=VIEWS, progress=show)
    say(f"     {report.weights}")


def _trained(store: "Store", method: str) -> float:
    from dataclasses import replace

    from gradebook.pipelines.inference.evaluate import evaluate
    from gradebook.pipelines.runs import find_run
    from gradebook.pipelines.train import train
    from gradebook.pipelines.training.presets import TrainCommand, quick

    config = replace(quick(method), run=method, seed=SEED, validation_share=0.0)
    train(TrainCommand(project=store.project.root, config=config))
    return evaluate(store, find_run(store.project, method)).accuracy


def _finished(store: "Store", accuracy: dict[str, float], root: Path, began: float) -> DemoReport:
    from gradebook.pipelines.curation.queue_items import as_json
    from gradebook.pipelines.curation.review_queue import rank
    from gradebook.pipelines.export.classifier import export
    from gradebook.pipelines.reporting.project_stats import read_stats
    from gradebook.pipelines.runs import find_run

    run = find_run(store.project, "mpl")
    read_stats(store)  # which keeps them: the app's first page need not load LanceDB
    exported = export(store, run, root / "classifier")
    return DemoReport(
        project=str(store.project.root),
        accuracy=accuracy,
        test_images=TEST_IMAGES,
        labels=LABELS_PER_CLASS * 10,
        queue=[as_json(row) for row in rank(store, run, limit=5)],
        exported=exported.dir,
        seconds=round(time.monotonic() - began, 1),
    )


def _in_words(report: DemoReport) -> str:
    names = {"supervised": "supervised", "uda": "UDA (no feedback)", "mpl": "Meta Pseudo Labels"}
    table = "\n".join(f"    {names[m]:<20} {a:.1%}" for m, a in report.accuracy.items())
    queue = "\n".join(f"    {r['label']}  {r['probability']:.0%}  {r['filepath']}" for r in report.queue)
    call = "uv run --extra mongodb gradebook" if "UV_RUN_RECURSION_DEPTH" in os.environ else "gradebook"
    return f"""
accuracy on {report.test_images} held-out images, from {report.labels} labels:
{table}

look at these first (the guess, its probability, the image):
{queue}

the trained classifier:  {report.exported}
try it:                  {call} predict {report.exported} {Path(report.exported).parent / "images" / "test"}
open the app:            {call} app {report.project}
({report.seconds:.0f} s)"""
