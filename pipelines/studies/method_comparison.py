"""Compares methods on images in a folder for each class, over seeds, with confidence intervals.

    python pipelines/studies/method_comparison.py TRAIN TEST --work DIR --take 6000 --labels 5 --seeds 0 1 2 3 4

Every row of the table has the same images, the same labels for each seed, the same preset and as many steps. Nothing
is chosen by its figures. If the preset needs cached views, images are embedded once. Results are saved below `--work`,
so an interrupted report continues.
"""

import csv
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.progress import progress, say
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run
from gradebook.pipelines.studies.command_line import footer, read_options
from gradebook.storage.files import write_json
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, open_store

SAMPLED = "chosen"  # directory of links to the chosen images


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Options of the study."""

    train: Annotated[Positional[Path], arg(help="training images, in a folder for each class")]
    test: Annotated[Positional[Path], arg(help="test images, in a folder for each class")]
    work: Path = Path("report")
    """Directory for the project, the runs and the results."""
    take: int = 0
    """Random training images (seed 0); 0 for all."""
    take_test: int = 0
    """Random test images (seed 0); 0 for all."""
    labels: tuple[int, ...] = (5,)
    """Labels of each class; one table for each number."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Random seeds, of the labels and of training."""
    methods: tuple[str, ...] = ("supervised", "pseudo_label", "uda", "mpl:none", "mpl")
    """Methods; mpl:none is Meta Pseudo Labels without feedback, mpl:reinforce with the paper's feedback."""
    preset: str = "quick"
    """Preset of all methods."""
    steps: int = 0
    """Steps of each run; 0 for the preset's."""
    start: str = ""
    """A preset; each run starts from the run of this preset with the same method, labels and seed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; returns the exit status."""
    report, given = read_options(Report, "method_comparison.py", __doc__, arguments)
    with exit_with_message():
        base = prepare_project(report)
        for number in report.labels:
            table = {
                method: [accuracy(report, base, number, seed, method) for seed in report.seeds]
                for method in report.methods
            }
            print(as_markdown(report, base, number, table, given), flush=True)
    return 0


def prepare_project(report: Report) -> Store:
    """Returns a project with all images, embedded if the preset needs it. Training images have no labels."""
    from gradebook.pipelines.embedding.embed import embed
    from gradebook.pipelines.importing.import_images import import_images
    from gradebook.pipelines.training.presets import preset_of

    root = report.work / "project"
    train = _sample_images(report.train, report.take, report.work / SAMPLED / "train")
    test = _sample_images(report.test, report.take_test, report.work / SAMPLED / "test")
    if not root.exists():
        create_project(root, sorted(path.name for path in report.train.iterdir() if path.is_dir()))
    store = open_store(root)
    with progress("import") as show:
        import_images(store, train, progress=show)
        import_images(store, test, labels="folders", split=Split.TEST, progress=show)
    if "views" in {preset_of(name, "mpl").inputs for name in (report.preset, report.start) if name}:
        with progress("embed") as show:
            say(embed(store, progress=show).weights)
    return store


def accuracy(report: Report, base: Store, number: int, seed: int, method: str) -> float:
    """Returns the test accuracy of one run, which is trained unless its result is saved already."""
    from gradebook.pipelines.inference.evaluate import evaluate

    store = label_project(report, base, number, seed)
    cached = store.project.root / f"{run_name(method, report.preset, report.steps, report.start)}.json"
    if cached.exists():
        return float(json.loads(cached.read_text(encoding="utf-8")))
    first = RunSpec(method=method, preset=report.start, seed=seed)
    start = train_run(store, first).name if report.start else ""
    spec = RunSpec(method=method, preset=report.preset, steps=report.steps, seed=seed, start=start)
    run = train_run(store, spec)
    result = evaluate(store, run).accuracy
    write_json(cached, result)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """The settings in which the runs of a study differ."""

    method: str  # or method:feedback
    preset: str
    steps: int = 0  # 0 for the preset's
    seed: int
    start: str = ""  # name of the run to start from
    classifier: Literal["student", "pooled"] = "student"

    @property
    def name(self) -> str:
        """The run's name."""
        name = run_name(self.method, self.preset, self.steps, self.start)
        return name if self.classifier == "student" else f"{name}-{self.classifier}"


def run_name(method: str, preset: str, steps: int, start: str = "") -> str:
    """Returns the name of a run, which may start from another one."""
    return f"{method.replace(':', '-')}-{preset}-{steps or 'all'}" + (f"-from-{start}" if start else "")


def train_run(store: Store, spec: RunSpec) -> Run:
    """Returns a finished run: an earlier one, or a new one, which may start from another run.

    Methods are compared by their students; with the pooled classifier they would hardly differ.
    """
    run = Run(store.project.runs / spec.name)
    if run.status().state is State.FINISHED:
        return run
    from gradebook.pipelines.training.config import TrainCommand
    from gradebook.pipelines.training.presets import preset_of
    from gradebook.pipelines.training.trainer import train

    method, _, feedback = spec.method.partition(":")
    config = preset_of(spec.preset, method)
    settings = replace(config.settings, feedback=feedback) if feedback else config.settings
    config = replace(
        config,
        run=run.name,
        seed=spec.seed,
        steps=spec.steps or config.steps,
        validation_share=0.0,
        settings=settings,
        start=spec.start,
        classifier=spec.classifier,
    )
    shutil.rmtree(run.path, ignore_errors=True)
    train(TrainCommand(project=store.project.root, config=config))
    return run


def as_markdown(report: Report, base: Store, number: int, table: dict[str, list[float]], given: Sequence[str]) -> str:
    """Returns the table, with all that is needed to make it again."""
    samples = base.catalog.samples()
    test = sum(s.split is Split.TEST for s in samples)
    after_start = f" after {report.start}" if report.start else ""
    rows = "\n".join(
        f"| {method} | {as_interval(values)} | {', '.join(f'{100 * v:.1f}' for v in values)} |"
        for method, values in table.items()
    )
    return f"""
{number} labels per class, {len(samples) - test} training and {test} test images, preset {report.preset}{after_start}:
test accuracy, mean with its 95 % confidence interval (Student's t) over seeds {", ".join(map(str, report.seeds))}

| method | accuracy, % | seed by seed |
| --- | --- | --- |
{rows}

{footer("pipelines/studies/method_comparison.py", given)}
"""


def _sample_images(folder: Path, take: int, links: Path) -> Path:
    """Returns the folder, or one with links to `take` random images of it (seed 0)."""
    from gradebook.pipelines.importing.file_discovery import find_images

    if not folder.is_dir():
        raise ProjectError(f"there is no folder {folder}: give images in a folder for each class")
    if not take:
        return folder
    files = sorted(Path(file.filepath) for file in find_images(folder)[0])
    if links.exists():
        return links
    for k in np.random.default_rng(0).permutation(len(files))[:take]:
        link = links / files[k].relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(files[k].resolve())
    return links


def label_project(report: Report, base: Store, number: int, seed: int, *, evenly: bool = True) -> Store:
    """Returns a copy of the project in which `number` random images of each class have their label.

    With `evenly=False` as many labels are drawn from all images, at least one of each class.
    """
    from gradebook.pipelines.curation.label_table import label_file

    root = report.work / f"labels-{number}-seed-{seed}{'' if evenly else '-from-all'}"
    if (root / "labels.csv").exists():
        return open_store(root)
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(base.project.root, root)
    store, random = open_store(root), np.random.default_rng([seed, number])
    rows, others = [], []
    samples = base.catalog.samples(Split.TRAIN)
    for name in base.project.classes:
        of_class = [s.filepath for s in samples if Path(s.filepath).parent.name == name]
        shuffled = [(of_class[k], name) for k in random.permutation(len(of_class))]
        rows += shuffled[: number if evenly else 1]
        others += shuffled[1:]
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


if __name__ == "__main__":
    sys.exit(main())
