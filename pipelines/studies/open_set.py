"""Measures how well images of no class are found: a third of the classes is held out, and its images are to be found.

    python pipelines/studies/open_set.py PROJECT PROJECT ... --labels 5 20 --rejected 0 3 10 --seeds 0 1 2 3 4 5

Each PROJECT has images in folders named by their true class, and embeddings. For each seed, a third of the classes is
unknown; as many random images of each other class have a label, and some of the unknown classes were rejected. Every
other image is ordered by each score. The figures are the area under the ROC curve (AUC) and how many of the first 20
images are of unknown classes. The projects are not changed.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional, arg

from gradebook.mpl.gaussian_classifier import nearest, principal_components
from gradebook.mpl.open_set import unlike_any_class
from gradebook.pipelines.inference.baseline import logistic_regression
from gradebook.pipelines.process.errors import exit_with_message
from gradebook.pipelines.studies.command_line import footer, read_options
from gradebook.storage.samples import Split
from gradebook.storage.store import open_store

MAX_IMAGES = 3_000  # of a project, random ones
FIRST = 20
NONE = np.empty(0, np.int64)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSet:
    """Options of the study."""

    projects: Annotated[Positional[tuple[Path, ...]], arg(help="projects with embeddings, images in folders by class")]
    labels: tuple[int, ...] = (5, 20)
    """Labels of each known class."""
    rejected: tuple[int, ...] = (0, 3, 10)
    """Rejected images of the unknown classes."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """Random seeds, of the unknown classes and of the labels."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table for each project; returns the exit status."""
    options, given = read_options(OpenSet, "open_set.py", __doc__, arguments)
    with exit_with_message():
        for project in options.projects:
            features, classes = read(project)
            rows = {
                (labels, rejected, name): values
                for labels in options.labels
                for rejected in options.rejected
                for name, values in measure(features, classes, labels, rejected, options.seeds).items()
            }
            print(f"\n{project}: {len(classes)} images, {len(set(classes))} classes\n\n{as_markdown(rows)}", flush=True)
        print(f"\n{footer('pipelines/studies/open_set.py', given)}")
    return 0


def read(project: Path) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Returns the features (N, D) of a project's training images as the queue uses them, and their true classes (N,).

    Raises:
        ProjectError: there is no such project.
    """
    store = open_store(project)
    samples = store.catalog.samples(Split.TRAIN)
    if len(samples) > MAX_IMAGES:
        samples = [samples[k] for k in np.random.default_rng(0).choice(len(samples), MAX_IMAGES, replace=False)]
    vectors = store.vectors.read(store.vectors.spaces()[-1].backbone, [s.sample_id for s in samples])
    return principal_components(vectors), np.array([Path(s.filepath).parent.name for s in samples])


def measure(
    features: NDArray[np.float32], classes: NDArray[np.str_], labels: int, rejected: int, seeds: tuple[int, ...]
) -> dict[str, Floats]:
    """Returns AUC and precision (seeds, 2) of each score."""
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in seeds:
        unknown, labelled, known_rejects = _draw(classes, labels, rejected, seed)
        rest = np.setdiff1d(np.arange(len(classes)), np.concatenate([labelled, known_rejects]))
        for name, score in scores(features, classes, labelled, known_rejects).items():
            found.setdefault(name, []).append(_quality(score[rest], unknown[rest]))
    return {name: np.array(values) for name, values in found.items()}


def scores(
    features: NDArray[np.float32], classes: NDArray[np.str_], labelled: NDArray[np.int64], rejected: NDArray[np.int64]
) -> Mapping[str, Floats]:
    """Returns each score (N,): higher for images that are of no class."""
    model = logistic_regression().fit(features[labelled], classes[labelled])
    _, similarity = nearest(features)
    return {
        "`unlike_any_class`": unlike_any_class(features, labelled, rejected),
        "the same without the rejected images": unlike_any_class(features, labelled, NONE),
        "1 - probability of a linear probe": 1 - model.predict_proba(features).max(1),
        "`outlier`": 1 - similarity.mean(1),
    }


def as_markdown(rows: Mapping[tuple[int, int, str], Floats]) -> str:
    """Returns a table with the means over seeds."""
    lines = ["| labels per class | rejected | score | AUC, % | of the first 20, % |", "| --- | --- | --- | --- | --- |"]
    for (labels, rejected, name), values in rows.items():
        auc, precision = 100 * values.mean(0)
        lines.append(f"| {labels} | {rejected} | {name} | {auc:.1f} | {precision:.0f} |")
    return "\n".join(lines)


def _draw(
    classes: NDArray[np.str_], labels: int, rejected: int, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Returns which images are of unknown classes (N,), the labelled ones, and the rejected ones."""
    random, names = np.random.default_rng(seed), np.unique(classes)
    unknown = np.isin(classes, random.choice(names, max(1, len(names) // 3), replace=False))
    of_known = [np.flatnonzero(classes == name) for name in np.unique(classes[~unknown])]
    labelled = np.concatenate([random.choice(k, min(labels, len(k) // 2), replace=False) for k in of_known])
    return unknown, labelled, random.choice(np.flatnonzero(unknown), rejected, replace=False)


def _quality(score: Floats, unknown: NDArray[np.bool_]) -> tuple[float, float]:
    from sklearn.metrics import roc_auc_score

    first: Any = unknown[np.argsort(-score, kind="stable")[:FIRST]].mean()
    return float(roc_auc_score(unknown, score)), float(first)


if __name__ == "__main__":
    sys.exit(main())
