"""Compares methods on images whose classes are their folders, over seeds, with confidence intervals.

    python pipelines/studies/method_comparison.py TRAIN TEST --work DIR --take 6000 --labels 5 --seeds 0 1 2 3 4

Every row of the table uses the same images, the same labels a seed, the same preset and as many steps; nothing is
chosen by its figures. Where the preset needs cached views, images are embedded once. Results are kept below `--work`,
so an interrupted report goes on.
"""

import csv
import json
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.progress import progress, say, silence_libraries
from gradebook.pipelines.runs import Run, State
from gradebook.storage.files import write_json
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, open_store

CHOSEN = "chosen"  # the directory of links to the images that take part


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What to compare, and on what."""

    train: Annotated[Positional[Path], arg(help="training images, a folder a class")]
    test: Annotated[Positional[Path], arg(help="test images, a folder a class")]
    work: Path = Path("report")
    """Directory for the project, the runs and the results."""
    take: int = 0
    """Training images to draw (seed 0); 0 takes all."""
    take_test: int = 0
    """Test images to draw (seed 0); 0 takes all."""
    labels: tuple[int, ...] = (5,)
    """Labels a class; several give several tables."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each draws its own labels, and everything else random."""
    methods: tuple[str, ...] = ("supervised", "pseudo_label", "uda", "mpl:none", "mpl")
    """Methods; mpl:none is Meta Pseudo Labels with the feedback off, mpl:reinforce the paper's one number."""
    preset: str = "quick"
    """The preset of all of them."""
    steps: int = 0
    """Steps of each run; 0 for the preset's."""
    start: str = ""
    """Another preset, whose run of the same method, labels and seed each run starts from."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; returns the exit status."""
    import tyro

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(Report, args=given, prog="report.py", description=__doc__)
    with exit_with_message():
        base = prepared(asked)
        for number in asked.labels:
            table = {
                method: [accuracy(asked, base, number, seed, method) for seed in asked.seeds]
                for method in asked.methods
            }
            print(as_markdown(asked, base, number, table, given), flush=True)
    return 0


def prepared(asked: Report) -> Store:
    """Returns the project with all images, those of TRAIN without labels; embedded if the preset needs cached views."""
    from gradebook.pipelines.embedding.embed import embed
    from gradebook.pipelines.importing.import_images import import_images
    from gradebook.pipelines.training.presets import preset_of

    root = asked.work / "project"
    train = _chosen(asked.train, asked.take, asked.work / CHOSEN / "train")
    test = _chosen(asked.test, asked.take_test, asked.work / CHOSEN / "test")
    if not root.exists():
        create_project(root, sorted(path.name for path in asked.train.iterdir() if path.is_dir()))
    store = open_store(root)
    with progress("import") as show:
        import_images(store, train, progress=show)
        import_images(store, test, labels="folders", split=Split.TEST, progress=show)
    if "views" in {preset_of(name, "mpl").inputs for name in (asked.preset, asked.start) if name}:
        with progress("embed") as show:
            say(embed(store, progress=show).weights)
    return store


def accuracy(asked: Report, base: Store, number: int, seed: int, method: str) -> float:
    """Returns the test accuracy of one run, which is trained unless its result is kept already."""
    from gradebook.pipelines.inference.evaluate import evaluate

    store = labelled(asked, base, number, seed)
    kept = store.project.root / f"{run_name(method, asked.preset, asked.steps, asked.start)}.json"
    if kept.exists():
        return float(json.loads(kept.read_text(encoding="utf-8")))
    start = trained(store, method, preset=asked.start, seed=seed).name if asked.start else ""
    run = trained(store, method, preset=asked.preset, steps=asked.steps, seed=seed, start=start)
    found = evaluate(store, run).accuracy
    write_json(kept, found)
    return found


def run_name(method: str, preset: str, steps: int, start: str = "") -> str:
    """Returns what a report calls a run, which may start from another one."""
    return f"{method.replace(':', '-')}-{preset}-{steps or 'all'}" + (f"-from-{start}" if start else "")


def trained(
    store: Store,
    method: str,
    *,
    preset: str,
    steps: int = 0,
    seed: int,
    start: str = "",
    classifier: Literal["student", "pooled"] = "student",
) -> Run:
    """Returns a run that has finished: the one that is kept, or a new one, which may start from another run.

    Methods are compared by their students; the pooled classifier would make all of them alike.
    """
    name = run_name(method, preset, steps, start)
    run = Run(store.project.runs / (name if classifier == "student" else f"{name}-{classifier}"))
    if run.status().state is State.FINISHED:
        return run
    from gradebook.pipelines.train import train
    from gradebook.pipelines.training.presets import TrainCommand, preset_of

    name, _, feedback = method.partition(":")
    config = preset_of(preset, name)
    settings = replace(config.settings, feedback=feedback) if feedback else config.settings
    config = replace(
        config,
        run=run.name,
        seed=seed,
        steps=steps or config.steps,
        validation_share=0.0,
        settings=settings,
        start=start,
        classifier=classifier,
    )
    shutil.rmtree(run.path, ignore_errors=True)
    train(TrainCommand(project=store.project.root, config=config))
    return run


def as_markdown(asked: Report, base: Store, number: int, table: dict[str, list[float]], given: Sequence[str]) -> str:
    """Returns the table with all that one needs to make it again."""
    samples = base.catalog.samples()
    test = sum(s.split is Split.TEST for s in samples)
    begun = f" after {asked.start}" if asked.start else ""
    rows = "\n".join(
        f"| {method} | {as_interval(values)} | {', '.join(f'{100 * v:.1f}' for v in values)} |"
        for method, values in table.items()
    )
    return f"""
{number} labels a class, {len(samples) - test} training and {test} test images, preset {asked.preset}{begun}: test
accuracy, mean with its 95 % confidence interval (Student's t) over seeds {", ".join(map(str, asked.seeds))}

| method | accuracy, % | seed by seed |
| --- | --- | --- |
{rows}

`python pipelines/studies/method_comparison.py {" ".join(given)}`, {date.today()}, {machine()}
"""


def _chosen(folder: Path, take: int, links: Path) -> Path:
    """Returns the folder, or one with links to `take` of its images, drawn with seed 0."""
    from gradebook.storage.images import is_image

    if not folder.is_dir():
        raise ProjectError(f"there is no folder {folder}: give images in a folder a class")
    if not take:
        return folder
    files = sorted(path for path in folder.rglob("*") if is_image(path))
    if links.exists():
        return links
    for k in np.random.default_rng(0).permutation(len(files))[:take]:
        link = links / files[k].relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(files[k].resolve())
    return links


def labelled(asked: Report, base: Store, number: int, seed: int, *, evenly: bool = True) -> Store:
    """Returns a copy of the project in which `number` images a class, drawn with the seed, have their label.

    With `evenly` off as many labels are drawn from all images, at least one of each class.
    """
    from gradebook.pipelines.curation.labelling import label_file

    root = asked.work / f"labels-{number}-seed-{seed}{'' if evenly else '-from-all'}"
    if (root / "labels.csv").exists():
        return open_store(root)
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(base.project.root, root)
    store, random = open_store(root), np.random.default_rng([seed, number])
    rows, others = [], []
    samples = base.catalog.samples(Split.TRAIN)
    for name in base.project.classes:
        of_class = [s.filepath for s in samples if Path(s.filepath).parent.name == name]
        drawn = [(of_class[k], name) for k in random.permutation(len(of_class))]
        rows += drawn[: number if evenly else 1]
        others += drawn[1:]
    if not evenly:
        rows += [others[k] for k in random.permutation(len(others))[: (number - 1) * len(base.project.classes)]]
    draft = root / "labels.draft.csv"
    with draft.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("filepath", "label"), *rows])
    label_file(store, draft)
    draft.rename(root / "labels.csv")
    return store


def as_interval(values: Sequence[float] | NDArray[np.float64]) -> str:
    """Returns shares in %: the mean and the half width of its 95 % confidence interval (Student's t)."""
    from scipy.stats import t

    mean = 100 * float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.1f}"
    half = 100 * float(np.std(values, ddof=1)) / len(values) ** 0.5 * float(t.ppf(0.975, len(values) - 1))
    return f"{mean:.1f} ± {half:.1f}"


def machine() -> str:
    """Returns what a table was made on."""
    import os

    import torch

    device: Any = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return f"{platform.machine()}, {device}, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
