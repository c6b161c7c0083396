"""Compares the default training with its parts, other methods and simple baselines, on several data sets.

    python pipelines/studies/few_labels.py SET SET ... --work DIR --labels 5 10 --seeds 0 1 2 3 4

Each SET is a folder with train/CLASS and test/CLASS. All rows use the same vectors and the same labels, for each seed
as many random ones of each class. With `--drawn pool` as many labels are drawn from all images, at least one per class.
Settings were chosen on parts of the training splits (docs/log.md). Results are saved below `--work`, so an interrupted
study continues.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.progress import say
from gradebook.pipelines.studies.baselines import BASELINES
from gradebook.pipelines.studies.command_line import footer, read_options
from gradebook.pipelines.studies.method_comparison import (
    Report,
    RunSpec,
    as_interval,
    label_project,
    prepare_project,
    train_run,
)
from gradebook.storage.events import replay
from gradebook.storage.files import write_json
from gradebook.storage.samples import Split
from gradebook.storage.store import Store

DEFAULT = "**default**"
FEEDBACK, NO_FEEDBACK = "mpl", "mpl:none"
METHODS = ("supervised", NO_FEEDBACK, FEEDBACK, "remixmatch")
MEASURES = ("accuracy", "balanced accuracy", "ECE")
Scores = dict[str, float]  # measure -> value


@dataclass(frozen=True, slots=True, kw_only=True)
class FewLabels:
    """Options of the study."""

    sets: Annotated[Positional[tuple[Path, ...]], arg(help="folders with train/CLASS and test/CLASS")]
    work: Path = Path("few-labels")
    """Directory for projects, runs and results."""
    take: int = 0
    """Random training images of each set (seed 0); 0 for all."""
    take_test: int = 0
    """Random test images of each set (seed 0); 0 for all."""
    labels: tuple[int, ...] = (5, 10)
    """Labels per class; one table for each number."""
    drawn: Literal["evenly", "pool"] = "evenly"
    """How labels are drawn: as many of each class, or from all images."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Random seeds, of the labels and of training."""
    methods: tuple[str, ...] = METHODS
    """Methods whose fine-tuned student is a row; mpl:none is Meta Pseudo Labels without feedback."""


@dataclass(frozen=True, slots=True)
class Arrays:
    """A data set with one random choice of labels."""

    store: Store
    features: NDArray[np.float32]  # (N, D) plain views of the training images
    labels: NDArray[np.int64]  # (N,) -1 for none
    test: NDArray[np.float32]  # (M, D)
    truth: NDArray[np.int64]  # (M,)
    seed: int

    @property
    def classes(self) -> int:
        """K."""
        return len(self.store.project.classes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; returns the exit status."""
    options, given = read_options(FewLabels, "few_labels.py", __doc__, arguments)
    with exit_with_message():
        for number in options.labels:
            scores = {path.name: scores_on(options, path, number) for path in options.sets}
            print(as_markdown(options, number, scores, given), flush=True)
    return 0


def scores_on(options: FewLabels, path: Path, number: int) -> dict[str, list[Scores]]:
    """Returns the scores on one data set: row of the table -> scores for each seed."""
    work = options.work / path.name
    report = Report(train=path / "train", test=path / "test", work=work, take=options.take, take_test=options.take_test)
    base = prepare_project(report)
    rows: dict[str, list[Scores]] = {}
    for seed in options.seeds:
        store = label_project(report, base, number, seed, evenly=options.drawn == "evenly")
        arrays = _arrays(store, seed)
        for name, row in _rows(options).items():
            rows.setdefault(name, []).append(_score(name, row, arrays))
    return rows


def _rows(options: FewLabels) -> dict[str, Callable[[Arrays], NDArray[np.float64]]]:
    """Returns the rows of the table: name -> function that returns the probabilities of the test images."""

    def baseline(name: str) -> Callable[[Arrays], NDArray[np.float64]]:
        return lambda a: BASELINES[name](a.features, a.labels, a.test, a.classes)

    def student(method: str) -> Callable[[Arrays], NDArray[np.float64]]:
        return lambda a: _predictions(a, train_run(a.store, RunSpec(method=method, preset="quick", seed=a.seed)))

    def default(a: Arrays) -> NDArray[np.float64]:
        return _predictions(
            a, train_run(a.store, RunSpec(method="mpl", preset="quick", seed=a.seed, classifier="pooled"))
        )

    return {DEFAULT: default, **{m: student(m) for m in options.methods}, **{b: baseline(b) for b in BASELINES}}


def _predictions(arrays: Arrays, run: Any) -> NDArray[np.float64]:
    from gradebook.pipelines.training.presets import config_from_json
    from gradebook.pipelines.training.student import load_run_student, predict_samples

    samples = arrays.store.catalog.samples(Split.TEST)
    return predict_samples(load_run_student(run), config_from_json(run.config()), arrays.store, samples)


def _score(name: str, row: Callable[[Arrays], NDArray[np.float64]], arrays: Arrays) -> Scores:
    """Returns a row's scores, which are cached in the project's directory."""
    from gradebook.mpl import metrics

    file = arrays.store.project.root / f"score-{name.strip('*').replace(' ', '-').replace(':', '-')}.json"
    if file.exists():
        return dict(json.loads(file.read_text(encoding="utf-8")))
    probabilities = row(arrays)
    scores = {
        "accuracy": metrics.accuracy(probabilities, arrays.truth),
        "balanced accuracy": metrics.balanced_accuracy(probabilities, arrays.truth),
        "ECE": metrics.calibration_error(probabilities, arrays.truth),
    }
    say(f"{arrays.store.project.root.parent.name} {arrays.store.project.root.name} {name}: {scores['accuracy']:.1%}")
    write_json(file, scores)
    return scores


def _arrays(store: Store, seed: int) -> Arrays:
    space = store.vectors.spaces()[-1]
    train, test = (store.catalog.samples(split) for split in (Split.TRAIN, Split.TEST))
    given, classes = replay(store.log.read()), store.project.classes
    index = {name: k for k, name in enumerate(classes)}
    read = [store.vectors.read(space.backbone, [s.sample_id for s in samples], 1)[:, 0] for samples in (train, test)]
    return Arrays(
        store=store,
        features=read[0].astype(np.float32),
        labels=np.array([index[given[s.sample_id]] if s.sample_id in given else -1 for s in train], np.int64),
        test=read[1].astype(np.float32),
        truth=np.array([index[given[s.sample_id]] for s in test], np.int64),
        seed=seed,
    )


def as_markdown(
    options: FewLabels, number: int, scores: dict[str, dict[str, list[Scores]]], given: Sequence[str]
) -> str:
    """Returns a table for each measure, with mean ranks and the default's lead, and the command that made them."""
    parts = [f"\n{number} labels per class, drawn {'evenly' if options.drawn == 'evenly' else 'from all images'}"]
    parts += [_table(measure, scores) for measure in MEASURES]
    if {FEEDBACK, NO_FEEDBACK} <= set(options.methods):
        parts.append(_feedback_table(scores))
    seeds = ", ".join(map(str, options.seeds))
    parts.append(
        "Means with 95 % confidence intervals (Student's t) over seeds "
        f"{seeds}; in brackets the default's lead, seed by seed. Rank: mean over sets, 1 is best.\n\n"
        f"{footer('pipelines/studies/few_labels.py', given)}"
    )
    return "\n\n".join(parts) + "\n"


def _table(measure: str, scores: dict[str, dict[str, list[Scores]]]) -> str:
    sets = list(scores)
    rows = list(scores[sets[0]])
    values = {row: {name: np.array([s[measure] for s in scores[name][row]]) for name in sets} for row in rows}
    sign = 1 if measure == "ECE" else -1
    means = np.array([[sign * values[row][name].mean() for name in sets] for row in rows])
    ranks = (means[:, None] > means[None]).sum(1).mean(1) + 1  # (rows,)
    lines = [f"| {measure}, % | {' | '.join(sets)} | rank |", "| --- |" + " --- |" * (len(sets) + 1)]
    for row, rank in sorted(zip(rows, ranks, strict=True), key=lambda pair: float(pair[1])):
        cells = []
        for name in sets:
            lead = values[DEFAULT][name] - values[row][name]
            cells.append(as_interval(values[row][name]) + ("" if row == DEFAULT else f" ({as_interval(lead)})"))
        lines.append(f"| {row} | {' | '.join(cells)} | {rank:.1f} |")
    return "\n".join(lines)


def _feedback_table(scores: dict[str, dict[str, list[Scores]]]) -> str:
    """Returns what the feedback changes: the scores of the student with it minus those without, seed by seed."""
    lines = [f"| {FEEDBACK} minus {NO_FEEDBACK}, points | {' | '.join(scores)} |", "| --- |" + " --- |" * len(scores)]
    for measure in MEASURES:
        pairs = (zip(rows[FEEDBACK], rows[NO_FEEDBACK], strict=True) for rows in scores.values())
        leads = (np.array([a[measure] - b[measure] for a, b in pair]) for pair in pairs)
        lines.append(f"| {measure} | {' | '.join(map(as_interval, leads))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
