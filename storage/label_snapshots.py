"""Label snapshots: the labels of teacher and student for every sample at a few steps of a run.

A record has a row each time that a sample is seen; a snapshot needs only the last of them. Segments whose steps are out
of range are not opened, and only four columns of the others are read.

Shape legend    G samples    M snapshots
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.storage.segments import read_classes, segments_in, unreadable

COLUMNS = ["step", "sample_id", "teacher_label", "student_label"]
Labels = NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSnapshots:
    """The labels of G samples at M steps."""

    sample_ids: list[str]
    classes: list[str]
    steps: list[int]  # (M,)
    teacher: Labels  # (G, M) indices into `classes`; -1 if there is no row in the range of the snapshot
    student: Labels  # (G, M)


@dataclass(frozen=True, slots=True)
class Extent:
    """The range of steps that a run has recorded."""

    first: int  # step
    last: int
    rows: int


def extent(directory: Path) -> Extent | None:
    """Returns the range of a run's segments, None if they have no rows. Reads their metadata only.

    Raises:
        ProjectError: a segment cannot be read.
    """
    spans = [span for path in (segments_in(directory) or {}).values() if (span := _span(path)).rows]
    if not spans:
        return None
    return Extent(min(s.first for s in spans), max(s.last for s in spans), sum(s.rows for s in spans))


def read_snapshots(directory: Path, steps: Sequence[int], within: int) -> LabelSnapshots:
    """Returns the last label of each network for each sample, in the `within` steps up to each snapshot.

    Args:
        directory: of the run's segments.
        steps: (M,) of the snapshots.
        within: range of steps to look back; two epochs contain every sample.

    Raises:
        ProjectError: a segment cannot be read.
    """
    ids: dict[str, int] = {}
    classes: dict[str, int] = {}
    parts: list[list[tuple[NDArray[np.int32], ...]]] = [[] for _ in steps]
    for path in (segments_in(directory) or {}).values():
        span = _span(path)
        in_range = [m for m, step in enumerate(steps) if span.rows and span.first <= step and span.last > step - within]
        if in_range:
            step, *columns = _read(path, ids, classes)
            for m in in_range:
                rows = (step <= steps[m]) & (step > steps[m] - within)
                parts[m].append((step[rows], *(column[rows] for column in columns)))
    labels = [_last(part, len(ids)) for part in parts]
    teacher, student = (np.stack([of[k] for of in labels], 1) for k in (0, 1))
    return LabelSnapshots(
        sample_ids=list(ids), classes=list(classes), steps=list(steps), teacher=teacher, student=student
    )


def _last(parts: Sequence[tuple[NDArray[np.int32], ...]], samples: int) -> tuple[Labels, Labels]:
    """Returns the (G,) labels of each network at the latest steps."""
    last = np.full(samples, -1, np.int16), np.full(samples, -1, np.int16)
    if parts:
        step, sample, *labels = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(step, kind="stable")
        for out, label in zip(last, labels, strict=True):
            known = order[label[order] >= 0]
            out[sample[known]] = label[known]  # a sample's last row is assigned last
    return last


def _read(path: Path, ids: dict[str, int], classes: dict[str, int]) -> tuple[NDArray[np.int32], ...]:
    """Returns step, sample, teacher's and student's label of each row as integers; extends `ids` and `classes`."""
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=COLUMNS)
        names = read_classes(table.schema)
        coded = table["sample_id"].combine_chunks()
    except FileNotFoundError:
        return tuple(np.empty(0, np.int32) for _ in COLUMNS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unreadable(path, error) from error
    sample = np.array([ids.setdefault(name, len(ids)) for name in coded.dictionary.to_pylist()], np.int32)
    label = np.array([*(classes.setdefault(name, len(classes)) for name in names), -1], np.int32)
    return (
        np.asarray(table["step"].to_numpy(), np.int32),
        sample[coded.indices.to_numpy()],
        *(label[_numbers(table[name])] for name in COLUMNS[2:]),
    )


def _numbers(column: Any) -> NDArray[np.int32]:
    return np.asarray(column.fill_null(-1).to_numpy(), np.int32)


def _span(path: Path) -> Extent:
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except FileNotFoundError:  # a resumed run has just removed it
        return Extent(0, 0, 0)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    steps = [metadata.row_group(k).column(0).statistics for k in range(metadata.num_row_groups)]
    known = [s for s in steps if s is not None and s.has_min_max]
    if not known:
        return Extent(0, 0, 0)
    return Extent(min(s.min for s in known), max(s.max for s in known), metadata.num_rows)
