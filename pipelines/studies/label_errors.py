"""Plants errors, and measures which reason finds them: AUROC and precision among the first so many.

    python pipelines/studies/label_errors.py TRAIN TEST --work DIR --take 6000 --seeds 0 1 2 3 4

(a) Wrong guesses: a run learns from a few right labels, and its student's guesses of the other images are held against
the folders. (b) Wrong labels: a share of the given labels is swapped for another class, drawn with the seed, and a run
learns from all of them. Images and runs are kept below `--work`, shared with pipelines/studies/method_comparison.py;
test images are imported with them, and nothing here looks at them. cleanlab's scores need: uv sync --group bench.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from gradebook.pipelines.curation.queue_items import GIVEN
from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.process.progress import say, silence_libraries
from gradebook.pipelines.runs import Run
from gradebook.pipelines.studies.method_comparison import Report, as_interval, labelled, machine, prepared, trained
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, open_store

if TYPE_CHECKING:
    from gradebook.pipelines.curation.evidence import SampleEvidence

Floats = NDArray[np.float64]

CONFIDENCE = "last confidence of the student"
SELF_CONFIDENCE = "the student's probability of the label"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """What to plant, and in what."""

    train: Annotated[Positional[Path], arg(help="training images, a folder a class")]
    test: Annotated[Positional[Path], arg(help="test images, a folder a class")]
    work: Path = Path("planted")
    """Directory for the projects and the runs."""
    take: int = 0
    """Training images to draw (seed 0); 0 takes all."""
    take_test: int = 0
    """Test images to draw (seed 0); 0 takes all."""
    labels: int = 10
    """Labels a class for (a)."""
    given: int = 40
    """Labels a class for (b); 0 leaves it out."""
    share: float = 0.2
    """Share of those that is swapped."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each draws its own labels and swaps, and everything else random."""
    budgets: tuple[int, ...] = (50, 100, 200)
    """Looks of a reviewer, for (a)."""
    budgets_labels: tuple[int, ...] = (20, 40)
    """The same for (b)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Scores of N samples, one seed."""

    wrong: NDArray[np.bool_]  # (N,)
    scores: dict[str, Floats]  # name -> (N,), higher is more suspect; NaN where nothing is known
    batches: dict[str, Callable[[int], NDArray[np.int64]]]  # name -> which samples to look at, for a budget


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; returns the exit status."""
    import tyro

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(Planted, args=given, prog="planted.py", description=__doc__)
    with exit_with_message():
        report = Report(train=asked.train, test=asked.test, work=asked.work, take=asked.take, take_test=asked.take_test)
        base = prepared(report)
        guesses = [found_guesses(*_few(report, base, asked.labels, seed)) for seed in asked.seeds]
        words = f"{asked.labels} labels a class"
        print(as_markdown("Wrong guesses", words, guesses, asked.budgets, CONFIDENCE), flush=True)
        if asked.given:
            labels = [found_labels(*_swapped(report, base, asked, seed)) for seed in asked.seeds]
            words = f"{asked.given} labels a class, {asked.share:.0%} of them swapped"
            print(as_markdown("Wrong labels", words, labels, asked.budgets_labels, SELF_CONFIDENCE), flush=True)
        seeds = ", ".join(map(str, asked.seeds))
        print(
            f"Seeds {seeds}. `python pipelines/studies/label_errors.py {' '.join(given)}`, {date.today()}, {machine()}"
        )
    return 0


def found_guesses(store: Store, run: Run) -> Trial:
    """Holds every score of every unlabelled image against whether the student's guess of it is wrong."""
    from gradebook.mpl.reasons import doubt, score
    from gradebook.pipelines.curation.evidence import collect_evidence

    truth, labels = _truth(store), replay(store.log.read())
    found = collect_evidence(store, run, [i for i in truth if i not in labels], {})
    columns = score(found.evidence)
    student, teacher = found.evidence.student, found.evidence.teacher
    scores = {
        "**the default order**": doubt(columns),
        CONFIDENCE: 1 - student.max(1),
        "last confidence of the teacher": 1 - teacher.max(1),
        "student and teacher as it was: unsure, entropy": (columns["unsure"] + columns["entropy"]) / 2,
        **{f"`{name}`": column for name, column in columns.items() if name != GIVEN},
        **_cleanlab(found.guess, student, "the student's probabilities"),
    }
    right = np.array([found.classes.index(truth[i]) for i in found.sample_ids])
    batches = {
        "the default batch, which covers what is in doubt": _shown(store, run, found.sample_ids),
        "the default order, spread over classes and clusters": _spread(found, scores["**the default order**"]),
    }
    return Trial(wrong=found.guess != right, scores=scores, batches=batches)


def found_labels(store: Store, run: Run) -> Trial:
    """Holds every score of every given label against whether it was swapped."""
    from gradebook.mpl.reasons import score, thin_margin
    from gradebook.pipelines.curation.evidence import collect_evidence
    from gradebook.pipelines.training.presets import config_from_json
    from gradebook.pipelines.training.student import load_run_student, predict_samples

    truth, given = _truth(store), run.labels()
    found = collect_evidence(store, run, list(given), given)
    columns, label = score(found.evidence), found.evidence.label
    samples = store.catalog.get(found.sample_ids)
    student = predict_samples(load_run_student(run), config_from_json(run.config()), store, samples)
    said = replace(found.evidence, student=student)
    folds = _cross_validated(store, run, found.sample_ids, label)
    scores = {
        f"**`{GIVEN}`**": columns[GIVEN],
        **{f"`{name}`": columns[name] for name in ("neighbours_disagree", "outlier", "twin_differs")},
        SELF_CONFIDENCE: 1 - student[np.arange(len(label)), label],
        "entropy of the student": score(said)["entropy"],
        "margin of the student": thin_margin(said),
        **_cleanlab(label, student, "the student's probabilities"),
        **_cleanlab(label, found.evidence.reading, "the feature classifier's probabilities"),
        **_cleanlab(label, folds, "logistic regression, 5 folds"),
    }
    return Trial(wrong=np.array([truth[i] != given[i] for i in found.sample_ids]), scores=scores, batches={})


def _few(report: Report, base: Store, number: int, seed: int) -> tuple[Store, Run]:
    """Returns a project with `number` right labels a class, and its run."""
    store = labelled(report, base, number, seed)
    return store, trained(store, "mpl", preset="quick", seed=seed)


def _swapped(report: Report, base: Store, asked: Planted, seed: int) -> tuple[Store, Run]:
    """Returns a project in which a share of the labels was swapped, and its run."""
    root = asked.work / f"swapped-{asked.given}-{asked.share}-seed-{seed}"
    if not (root / "swapped").exists():
        right = labelled(report, base, asked.given, seed)
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(base.project.root, root)
        store, random = open_store(root), np.random.default_rng([seed, asked.given, 1])
        truth, classes = _truth(store), store.project.classes
        names = {i: truth[i] for i in sorted(replay(right.log.read()).keys() & truth.keys())}
        for i in random.permutation(list(names))[: round(asked.share * len(names))].tolist():
            names[i] = str(random.choice([name for name in classes if name != truth[i]]))
        store.log.append_now([event(Kind.IMPORTED, i, name, actor="planted") for i, name in names.items()])
        (root / "swapped").touch()
    store = open_store(root)
    return store, trained(store, "mpl", preset="quick", seed=seed)


def _truth(store: Store) -> dict[str, str]:
    """Returns the class of every training image: its folder's name."""
    return {s.sample_id: Path(s.filepath).parent.name for s in store.catalog.samples(Split.TRAIN)}


def _shown(store: Store, run: Run, sample_ids: list[str]) -> Callable[[int], NDArray[np.int64]]:
    """Returns the places of what the queue shows first."""
    from gradebook.pipelines.curation.review_queue import rank

    place = {sample_id: k for k, sample_id in enumerate(sample_ids)}
    return lambda budget: np.array([place[row.sample_id] for row in rank(store, run, limit=budget, spread=True)])


def _spread(found: "SampleEvidence", order_by: Floats) -> Callable[[int], NDArray[np.int64]]:
    from gradebook.mpl.ranking import spread

    return lambda budget: spread(order_by, budget, space=found.space, classes=found.guess, groups=found.groups)


def _cleanlab(labels: NDArray[np.int64], probabilities: Floats, whose: str) -> dict[str, Floats]:
    """Returns cleanlab's label quality scores (Kuan and Mueller, 2022), 1 minus each; nothing where it is missing."""
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        say("cleanlab is not installed, so its rows are left out: uv sync --group bench")
        return {}
    names = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
    return {
        f"cleanlab {name}, {whose}": 1 - get_label_quality_scores(labels, probabilities, method=name) for name in names
    }


def _cross_validated(store: Store, run: Run, sample_ids: list[str], label: NDArray[np.int64]) -> Floats:
    """Returns what logistic regression on plain vectors says of each sample when it has not seen its label: (N, K)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    vectors = store.vectors.read(run.config()["backbone"], sample_ids)[:, 0].astype(np.float64)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=1000))
    said: Floats = cross_val_predict(classifier, vectors, label, cv=5, method="predict_proba")
    return said


def auroc(score: Floats, wrong: NDArray[np.bool_]) -> float:
    """Returns how likely a wrong one has a higher score than a right one; ties count half, unknown is lowest."""
    from scipy.stats import rankdata

    ranks = rankdata(np.nan_to_num(score, nan=-1.0))
    bad, good = int(wrong.sum()), int((~wrong).sum())
    return float((ranks[wrong].sum() - bad * (bad + 1) / 2) / (bad * good))


def as_markdown(title: str, words: str, trials: Sequence[Trial], budgets: Sequence[int], baseline: str) -> str:
    """Returns a table in %, means with 95 % intervals over seeds: AUROC, how far it is above the baseline's on the same
    seed, and the share of wrong ones among the first so many.
    """
    from gradebook.mpl.ranking import rank

    share = as_interval([float(t.wrong.mean()) for t in trials])
    lines = [
        f"### {title}",
        f"\n{words}; {min(len(t.wrong) for t in trials)} or more images, of which {share} % are wrong.\n",
        f"| what orders them | AUROC | above {baseline} | "
        + " | ".join(f"wrong in the first {b}" for b in budgets)
        + " |",
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
