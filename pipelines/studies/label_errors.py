"""Plants label errors and measures which reason finds them: AUROC, and precision among the first images.

    python pipelines/studies/label_errors.py TRAIN TEST --work DIR --take 6000 --seeds 0 1 2 3 4

(a) Wrong predictions: a run trains on a few correct labels, and the predictions for the other images are compared with
their folders. (b) Wrong labels: a share of the given labels is swapped for a random other class, and a run trains on
all of them. Images and runs are saved below `--work`, shared with pipelines/studies/method_comparison.py. Test images
are imported too, and never used here. cleanlab's scores need: uv sync --group bench.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from gradebook.pipelines.curation.queue_items import GIVEN
from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.progress import say
from gradebook.pipelines.runs import Run
from gradebook.pipelines.studies.command_line import footer, read_options
from gradebook.pipelines.studies.method_comparison import (
    Report,
    RunSpec,
    as_interval,
    label_project,
    prepare_project,
    train_run,
)
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, open_store

if TYPE_CHECKING:
    from gradebook.pipelines.curation.evidence import SampleEvidence

Floats = NDArray[np.float64]

CONFIDENCE = "confidence of the student"
SELF_CONFIDENCE = "the student's probability of the label"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelErrors:
    """Options of the study."""

    train: Annotated[Positional[Path], arg(help="training images, in a folder for each class")]
    test: Annotated[Positional[Path], arg(help="test images, in a folder for each class")]
    work: Path = Path("planted")
    """Directory for the projects and the runs."""
    take: int = 0
    """Random training images (seed 0); 0 for all."""
    take_test: int = 0
    """Random test images (seed 0); 0 for all."""
    labels: int = 10
    """Labels of each class for (a)."""
    given: int = 40
    """Labels of each class for (b); 0 leaves (b) out."""
    share: float = 0.2
    """Share of the given labels that is swapped."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Random seeds, of labels, swaps and training."""
    budgets: tuple[int, ...] = (50, 100, 200)
    """Numbers of images that a reviewer checks, for (a)."""
    budgets_labels: tuple[int, ...] = (20, 40)
    """Numbers of images that a reviewer checks, for (b)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Scores of N samples, one seed."""

    wrong: NDArray[np.bool_]  # (N,)
    scores: dict[str, Floats]  # name -> (N,), higher is more suspicious; NaN where unknown
    batches: dict[str, Callable[[int], NDArray[np.int64]]]  # name -> budget -> the samples to check


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; returns the exit status."""
    options, given = read_options(LabelErrors, "label_errors.py", __doc__, arguments)
    with exit_with_message():
        report = Report(
            train=options.train, test=options.test, work=options.work, take=options.take, take_test=options.take_test
        )
        base = prepare_project(report)
        predictions = [score_predictions(*_few_labels(report, base, options.labels, seed)) for seed in options.seeds]
        setup = f"{options.labels} labels per class"
        print(as_markdown("Wrong predictions", setup, predictions, options.budgets, CONFIDENCE), flush=True)
        if options.given:
            labels = [score_given_labels(*_swapped_labels(report, base, options, seed)) for seed in options.seeds]
            setup = f"{options.given} labels per class, {options.share:.0%} of them swapped"
            print(as_markdown("Wrong labels", setup, labels, options.budgets_labels, SELF_CONFIDENCE), flush=True)
        seeds = ", ".join(map(str, options.seeds))
        print(f"Seeds {seeds}. {footer('pipelines/studies/label_errors.py', given)}")
    return 0


def score_predictions(store: Store, run: Run) -> Trial:
    """Compares each score of each unlabelled image with whether the student's prediction is wrong."""
    from gradebook.mpl.reasons import doubt, score
    from gradebook.pipelines.curation.evidence import collect_evidence

    truth, labels = _truth(store), replay(store.log.read())
    scored = collect_evidence(store, run, [i for i in truth if i not in labels], {})
    columns = score(scored.evidence)
    student, teacher = scored.evidence.student, scored.evidence.teacher
    scores = {
        "**the default order**": doubt(columns),
        CONFIDENCE: 1 - student.max(1),
        "confidence of the teacher": 1 - teacher.max(1),
        "the former default order: mean of unsure and entropy": (columns["unsure"] + columns["entropy"]) / 2,
        **{f"`{name}`": column for name, column in columns.items() if name != GIVEN},
        **_cleanlab(scored.guess, student, "the student's probabilities"),
    }
    truth_index = np.array([scored.classes.index(truth[i]) for i in scored.sample_ids])
    batches = {
        "the default batch": _shown(store, run, scored.sample_ids),
        "the default order, diverse over classes and clusters": _spread(scored, scores["**the default order**"]),
    }
    return Trial(wrong=scored.guess != truth_index, scores=scores, batches=batches)


def score_given_labels(store: Store, run: Run) -> Trial:
    """Compares each score of each given label with whether it was swapped."""
    from gradebook.mpl.reasons import score, thin_margin
    from gradebook.pipelines.curation.evidence import collect_evidence
    from gradebook.pipelines.training.presets import config_from_json
    from gradebook.pipelines.training.student import load_run_student, predict_samples

    truth, given = _truth(store), run.labels()
    scored = collect_evidence(store, run, list(given), given)
    columns, label = score(scored.evidence), scored.evidence.label
    samples = store.catalog.get(scored.sample_ids)
    student = predict_samples(load_run_student(run), config_from_json(run.config()), store, samples)
    evidence = replace(scored.evidence, student=student)
    folds = _cross_validated(store, run, scored.sample_ids, label)
    scores = {
        f"**`{GIVEN}`**": columns[GIVEN],
        **{f"`{name}`": columns[name] for name in ("neighbours_disagree", "outlier", "twin_differs")},
        SELF_CONFIDENCE: 1 - student[np.arange(len(label)), label],
        "entropy of the student": score(evidence)["entropy"],
        "margin of the student": thin_margin(evidence),
        **_cleanlab(label, student, "the student's probabilities"),
        **_cleanlab(label, scored.evidence.classifier, "the feature classifier's probabilities"),
        **_cleanlab(label, folds, "logistic regression, 5 folds"),
    }
    return Trial(wrong=np.array([truth[i] != given[i] for i in scored.sample_ids]), scores=scores, batches={})


def _few_labels(report: Report, base: Store, number: int, seed: int) -> tuple[Store, Run]:
    """Returns a project with `number` correct labels of each class, and its run."""
    store = label_project(report, base, number, seed)
    return store, train_run(store, RunSpec(method="mpl", preset="quick", seed=seed))


def _swapped_labels(report: Report, base: Store, options: LabelErrors, seed: int) -> tuple[Store, Run]:
    """Returns a project in which a share of the labels was swapped, and its run."""
    root = options.work / f"swapped-{options.given}-{options.share}-seed-{seed}"
    if not (root / "swapped").exists():
        correct = label_project(report, base, options.given, seed)
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(base.project.root, root)
        store, random = open_store(root), np.random.default_rng([seed, options.given, 1])
        truth, classes = _truth(store), store.project.classes
        names = {i: truth[i] for i in sorted(replay(correct.log.read()).keys() & truth.keys())}
        for i in random.permutation(list(names))[: round(options.share * len(names))].tolist():
            names[i] = str(random.choice([name for name in classes if name != truth[i]]))
        store.log.append_now([event(Kind.IMPORTED, i, name, actor="planted") for i, name in names.items()])
        (root / "swapped").touch()
    store = open_store(root)
    return store, train_run(store, RunSpec(method="mpl", preset="quick", seed=seed))


def _truth(store: Store) -> dict[str, str]:
    """Returns the class of every training image: its folder's name."""
    return {s.sample_id: Path(s.filepath).parent.name for s in store.catalog.samples(Split.TRAIN)}


def _shown(store: Store, run: Run, sample_ids: list[str]) -> Callable[[int], NDArray[np.int64]]:
    """Returns a function from a budget to the rows of the images that the queue shows first."""
    from gradebook.pipelines.curation.review_queue import rank

    row = {sample_id: k for k, sample_id in enumerate(sample_ids)}
    return lambda budget: np.array([row[item.sample_id] for item in rank(store, run, limit=budget, spread=True)])


def _spread(scored: "SampleEvidence", order_by: Floats) -> Callable[[int], NDArray[np.int64]]:
    from gradebook.mpl.ranking import spread

    return lambda budget: spread(order_by, budget, space=scored.space, classes=scored.guess, groups=scored.groups)


def _cleanlab(labels: NDArray[np.int64], probabilities: Floats, whose: str) -> dict[str, Floats]:
    """Returns cleanlab's label quality scores (Kuan and Mueller, 2022), 1 minus each; none if it is not installed."""
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        say("the package cleanlab is not installed, so its rows are left out")
        return {}
    names = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
    return {
        f"cleanlab {name}, {whose}": 1 - get_label_quality_scores(labels, probabilities, method=name) for name in names
    }


def _cross_validated(store: Store, run: Run, sample_ids: list[str], label: NDArray[np.int64]) -> Floats:
    """Returns cross-validated probabilities (N, K) of logistic regression on plain embeddings."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    vectors = store.vectors.read(run.config()["backbone"], sample_ids)[:, 0].astype(np.float64)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=1000))
    probabilities: Floats = cross_val_predict(classifier, vectors, label, cv=5, method="predict_proba")
    return probabilities


def auroc(score: Floats, wrong: NDArray[np.bool_]) -> float:
    """Returns the AUROC: the probability that a wrong sample has a higher score than a correct one; NaN is lowest."""
    from scipy.stats import rankdata

    ranks = rankdata(np.nan_to_num(score, nan=-1.0))
    n_wrong, n_correct = int(wrong.sum()), int((~wrong).sum())
    return float((ranks[wrong].sum() - n_wrong * (n_wrong + 1) / 2) / (n_wrong * n_correct))


def as_markdown(title: str, setup: str, trials: Sequence[Trial], budgets: Sequence[int], baseline: str) -> str:
    """Returns a table of means with 95 % intervals over seeds, in %: AUROC, its difference to the baseline on the same
    seed, and the share of wrong samples among the first ones for each budget.
    """
    from gradebook.mpl.ranking import rank

    share = as_interval([float(t.wrong.mean()) for t in trials])
    lines = [
        f"### {title}",
        f"\n{setup}; {min(len(t.wrong) for t in trials)} or more images, of which {share} % are wrong.\n",
        f"| ordered by | AUROC | above {baseline} | " + " | ".join(f"wrong in the first {b}" for b in budgets) + " |",
        "| --- | --- | --- |" + " --- |" * len(budgets),
    ]
    base = np.array([auroc(t.scores[baseline], t.wrong) for t in trials])
    for name in trials[0].scores:
        areas = np.array([auroc(t.scores[name], t.wrong) for t in trials])
        firsts = [[float(t.wrong[rank(t.scores[name])[:b]].mean()) for t in trials] for b in budgets]
        cells = [as_interval(areas), as_interval(areas - base), *(as_interval(first) for first in firsts)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name in trials[0].batches:
        firsts = [[float(t.wrong[t.batches[name](b)].mean()) for t in trials] for b in budgets]
        lines.append(f"| {name} | | | " + " | ".join(as_interval(first) for first in firsts) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
