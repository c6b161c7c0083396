"""The second reading of a run: made when it is first asked for, kept beside the run's predictions. Loads no torch.

Shape legend    N samples    d of the space    K classes    k neighbours
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.runs import PREDICTIONS, Run
from gradebook.storage.files import atomic_path

if TYPE_CHECKING:
    from gradebook.storage.store import Store

SAMPLES = "samples.json"
READING = "reading.npz"
FORM = 3  # counts the ways in which readings were made: older ones are made again


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the images alone say of a run's samples: those it began with, labelled or not, that have vectors."""

    made_of: NDArray[np.str_]  # () says which predictions and vectors it comes from
    sample_ids: NDArray[np.str_]  # (N,)
    space: NDArray[np.float16]  # (N, d) in the reader's measure
    said: NDArray[np.float32]  # (N, K) the second reader
    around: NDArray[np.float32]  # (N, K) the mean of `said` over the nearest neighbours
    fair: NDArray[np.float32]  # (N, K) one that has seen no label, to judge labels by
    around_fair: NDArray[np.float32]  # (N, K) the mean of `fair` over the nearest neighbours
    similarity: NDArray[np.float32]  # (N,) mean cosine similarity to them
    twins: NDArray[np.int32]  # (N,) place of the most similar earlier near-duplicate, -1 without one


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What student and teacher of a finished run think of its unlabelled samples."""

    classes: list[str]
    sample_ids: list[str]
    student: NDArray[np.float64]  # (N, K)
    teacher: NDArray[np.float64]  # (N, K), NaN where the method has none


def predictions(run: Run) -> Predictions:
    """Reads what a run that has finished thinks."""
    import pyarrow.parquet as pq

    table = pq.read_table(run.path / PREDICTIONS)
    classes = json.loads(table.schema.metadata[b"classes"])
    return Predictions(
        classes=classes,
        sample_ids=table["sample_id"].to_pylist(),
        student=_distributions(table["student"], len(classes)),
        teacher=_distributions(table["teacher"], len(classes)),
    )


def reading(store: "Store", run: Run, thought: Predictions) -> Reading | None:
    """Returns the second reading of a run, kept or made now; None where its samples have no vectors.

    It is read in the space of the run's own backbone, or in the newest space where that has none.
    """
    backbone = backbone_of(store, run)
    if backbone is None:
        return None
    ids = _embedded(store, backbone, run, thought)
    if len(ids) < 2:
        return None
    stat = (run.path / PREDICTIONS).stat()
    made_of = f"{FORM} {backbone} {len(ids)} {stat.st_size} {stat.st_mtime_ns}"
    kept = _kept(run.path / READING, made_of)
    if kept is None:
        kept = _made(store, run, backbone, ids, thought, made_of)
        _keep(run.path / READING, kept)
    return kept


def _made(store: "Store", run: Run, backbone: str, ids: Sequence[str], thought: Predictions, made_of: str) -> Reading:
    from gradebook.mpl.gaussian_classifier import nearest, reading_space, second_reading

    space = reading_space(store.vectors.read(backbone, ids))
    place = {sample_id: row for row, sample_id in enumerate(thought.sample_ids)}
    rows = np.array([place.get(sample_id, -1) for sample_id in ids])
    alone = np.isnan(thought.teacher).any(1, keepdims=True)
    opinions = np.where(alone, thought.student, (thought.student + thought.teacher) / 2)
    opinions = np.where(rows[:, None] < 0, np.nan, opinions[rows])
    index = {name: k for k, name in enumerate(thought.classes)}
    labels = run.labels()
    said, measured = second_reading(
        space, opinions, np.array([index.get(labels.get(i, ""), -1) for i in ids], np.int64)
    )
    fair, _ = second_reading(space, opinions)
    places, similar = nearest(measured)
    return Reading(
        made_of=np.array(made_of),
        sample_ids=np.array(ids),
        space=measured.astype(np.float16),
        said=said.astype(np.float32),
        around=said[places].mean(1).astype(np.float32),
        fair=fair.astype(np.float32),
        around_fair=fair[places].mean(1).astype(np.float32),
        similarity=similar.mean(1),
        twins=_twins(store, ids),
    )


def _twins(store: "Store", ids: Sequence[str]) -> NDArray[np.int32]:
    from gradebook.storage.duplicates import near_duplicates, stack_fingerprints

    marks = stack_fingerprints([sample.fingerprint for sample in store.catalog.get(ids)])
    pairs = near_duplicates(marks, marks[:0])
    twins = np.full(len(ids), -1, np.int32)
    twins[pairs[:, 0]] = pairs[:, 1]
    return twins


def backbone_of(store: "Store", run: Run) -> str | None:
    """Returns the backbone in whose space a run is read, None where there are no vectors at all."""
    names = [space.backbone for space in store.vectors.spaces()]
    own = run.config().get("backbone")
    if own in names:
        return str(own)
    return names[-1] if names else None


def _embedded(store: "Store", backbone: str, run: Run, thought: Predictions) -> list[str]:
    path = run.path / SAMPLES
    ids = json.loads(path.read_text(encoding="utf-8"))["sample_ids"] if path.exists() else thought.sample_ids
    missing = set(store.vectors.missing(backbone, ids))
    return [sample_id for sample_id in ids if sample_id not in missing]


def _kept(path: Path, made_of: str) -> Reading | None:
    """Returns what is kept, unless it comes from other predictions or vectors, or is torn: then it is made again."""
    try:
        with np.load(path) as file:
            kept = Reading(**{field.name: file[field.name] for field in fields(Reading)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return kept if str(kept.made_of) == made_of else None


def _keep(path: Path, made: Reading) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{field.name: getattr(made, field.name) for field in fields(Reading)})


def _distributions(column: Any, classes: int) -> NDArray[np.float64]:
    """Returns a column of lists as (N, K), NaN where it is null."""
    if column.null_count or not len(column):
        return np.full((len(column), classes), np.nan)
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float64).reshape(len(column), classes)
