"""The demo: everything from images to a classifier on scikit-learn's 1,797 handwritten digits, with 3 labels per class.

Digits are hard for a backbone that was trained on photographs, and there are only three labels per class. The demo
shows what pseudo-labels add, and what the default training adds: Meta Pseudo Labels, pooled with simple classifiers.
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

MARKER = "gradebook-demo.json"  # a file that marks the directory of a demo, which the next demo may replace
ALL_LABELS = "all.csv"  # the table of all labels of the digits
TEST_IMAGES = 600  # images of the test split
LABELS_PER_CLASS = 3
SCALE = 8  # by which the digits' 8 x 8 pixels are enlarged
SEED = 0
VIEWS = 2  # the plain and the mirrored image; more would take longer than all the trainings
DEFAULT = "mpl"
METHODS = ("supervised", "uda", DEFAULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """The result of the demo."""

    project: str
    accuracy: dict[str, float]  # method -> test accuracy of its student; for mpl, of the default training
    test_images: int
    labels: int
    queue: list[dict[str, Any]]
    exported: str
    seconds: float


def demo(directory: Path, *, as_json: bool) -> DemoReport:
    """Makes a project of digits in a directory, trains three methods on the same labels, ranks the queue and exports.

    Raises:
        ProjectError: the directory has files that are not from an earlier demo.
    """
    started = time.monotonic()
    root = empty_directory(directory)
    say(f"1/5  images: handwritten digits from scikit-learn, as PNG files in {root / 'images'}")
    write_digits(root / "images")
    store = _import(root)
    say("3/5  embed: a frozen backbone computes features of every image")
    _embed(store)
    say(f"4/5  train: supervised, UDA and Meta Pseudo Labels on the same {LABELS_PER_CLASS * 10} labels")
    accuracy = {method: _train(store, method) for method in METHODS}
    say("5/5  queue and export")
    report = _report(store, accuracy, root, started)
    if as_json:
        from dataclasses import asdict

        print(json.dumps(asdict(report), ensure_ascii=False))
    else:
        print(_as_text(report))
    return report


def write_digits(directory: Path) -> None:
    """Writes PNG files into `train/` and `test/CLASS/`, and the labels into `labels.csv`; the same ones each time.

    `all.csv` has the labels of the test images too, and the split of each image.
    """
    import csv

    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    labels: dict[int, int] = {}  # per class
    rows, every = [], [("filepath", "label", "split")]
    for position, k in enumerate(order):
        name, test = int(digits.target[k]), position < TEST_IMAGES
        folder = directory / "test" / str(name) if test else directory / "train"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"digit-{k:04d}.png"
        grey = Image.fromarray((255 - digits.images[k] * 255 / 16).astype(np.uint8))
        grey.resize((8 * SCALE, 8 * SCALE), Image.Resampling.BICUBIC).save(path)
        every += [(str(path.relative_to(directory)), str(name), "test")] if test else []
        if not test and labels.get(name, 0) < LABELS_PER_CLASS:
            labels[name] = labels.get(name, 0) + 1
            rows.append((f"train/{path.name}", str(name)))
    with (directory / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("filepath", "label"), *rows])
    with (directory / ALL_LABELS).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([*every, *((*row, "train") for row in rows)])


def empty_directory(directory: Path) -> Path:
    """Returns an empty directory for the demo; removes an earlier demo there, and nothing else."""
    root = directory.expanduser().resolve()
    if root.exists() and any(root.iterdir()):
        if not (root / MARKER).exists():
            raise ProjectError(f"{root} has other files: choose another directory with: gradebook demo DIR")
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / MARKER).write_text("{}\n", encoding="utf-8")
    return root


def _import(root: Path) -> "Store":
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


def _embed(store: "Store") -> None:
    from gradebook.pipelines.embedding.embed import embed

    with progress("embed") as show:
        report = embed(store, views=VIEWS, progress=show)
    say(f"     {report.weights}")


def _train(store: "Store", method: str) -> float:
    from dataclasses import replace

    from gradebook.pipelines.inference.evaluate import evaluate
    from gradebook.pipelines.runs import find_run
    from gradebook.pipelines.training.config import TrainCommand
    from gradebook.pipelines.training.presets import quick
    from gradebook.pipelines.training.trainer import train

    config = replace(quick(method), run=method, seed=SEED, validation_share=0.0)
    if method != DEFAULT:
        config = replace(config, classifier="student")
    train(TrainCommand(project=store.project.root, config=config))
    return evaluate(store, find_run(store.project, method)).accuracy


def _report(store: "Store", accuracy: dict[str, float], root: Path, started: float) -> DemoReport:
    from gradebook.pipelines.curation.queue_items import as_json
    from gradebook.pipelines.curation.review_queue import rank
    from gradebook.pipelines.export.classifier import export
    from gradebook.pipelines.reporting.project_stats import read_stats
    from gradebook.pipelines.runs import find_run

    run = find_run(store.project, DEFAULT)
    read_stats(store)  # caches them for the app's first page, which then does not have to load LanceDB
    exported = export(store, run, root / "classifier")
    return DemoReport(
        project=str(store.project.root),
        accuracy=accuracy,
        test_images=TEST_IMAGES,
        labels=LABELS_PER_CLASS * 10,
        queue=[as_json(row) for row in rank(store, run, limit=5)],
        exported=exported.dir,
        seconds=round(time.monotonic() - started, 1),
    )


def _as_text(report: DemoReport) -> str:
    names = {"supervised": "supervised", "uda": "UDA", DEFAULT: "default (Meta Pseudo Labels, pooled)"}
    table = "\n".join(f"    {names[m]:<37} {a:.1%}" for m, a in report.accuracy.items())
    queue = "\n".join(f"    {r['label']}  {r['probability']:.0%}  {r['filepath']}" for r in report.queue)
    call = "uv run --extra mongodb gradebook" if "UV_RUN_RECURSION_DEPTH" in os.environ else "gradebook"
    return f"""
accuracy on {report.test_images} held-out images, from {report.labels} labels:
{table}

review these first (predicted class, its probability, image):
{queue}

the trained classifier:  {report.exported}
try it:                  {call} predict {report.exported} {Path(report.exported).parent / "images" / "test"}
open the app:            {call} app {report.project}
({report.seconds:.0f} s)"""
