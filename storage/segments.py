"""Segments of the record: the Parquet files that a trainer writes into its run's directory `record/`."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gradebook.storage.project import ProjectError

RECORDED = (
    "teacher_label",
    "teacher_probability",
    "runner_up",
    "student_label",
    "student_probability",
    "feedback",
    "best_label",
    "best_gain",
)
LABELS = frozenset({"teacher_label", "runner_up", "student_label", "best_label"})


def segment_schema(classes: Sequence[str]) -> Any:
    """Returns the columns of a segment. Labels are indices into `classes`; all but step and sample_id may be null."""
    import pyarrow as pa

    columns = [
        pa.field("step", pa.int32(), nullable=False),
        pa.field("sample_id", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        *(pa.field(name, pa.int16() if name in LABELS else pa.float32()) for name in RECORDED),
    ]
    return pa.schema(columns, metadata={b"classes": json.dumps(list(classes)).encode()})


def read_classes(schema: Any) -> list[str]:
    """Returns the classes that a segment's labels are indices into."""
    return [str(name) for name in json.loads(schema.metadata[b"classes"])]


def segments_in(directory: Path) -> dict[str, Path] | None:
    """Returns a directory's segments by a key that changes with the file, None if there is no directory.

    A resumed run reuses names, so the key includes the file's size and time.
    """
    if not directory.is_dir():
        return None
    segments = {}
    for path in sorted(directory.glob("[!.]*.parquet")):
        with suppress(FileNotFoundError):  # a resumed run has just removed it
            stat = path.stat()
            segments[f"{path.name}/{stat.st_size}/{stat.st_mtime_ns}"] = path
    return segments


def history_schema() -> Any:
    """Returns the columns of `history`: run, segment, and the columns of a segment with class names for labels.

    Repeated names are dictionary-encoded: to find 50 rows among 50 million, LanceDB takes as long for one plain column
    of names as for all the other columns together.
    """
    import pyarrow as pa

    named = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        {
            "run": named,
            "segment": named,
            "step": pa.int32(),
            "sample_id": pa.string(),
            **{name: named if name in LABELS else pa.float32() for name in RECORDED},
        }
    )


def read_segment(run: str, key: str, path: Path) -> Any | None:
    """Returns a segment's rows in the columns of `history`, None if a resumed run has just removed it.

    Raises:
        ProjectError: the file cannot be read, or is not of `segment_schema`.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path)
        classes = pa.array(read_classes(rows.schema), pa.string())
        columns = {name: rows[name].combine_chunks() for name in ("step", "sample_id", *RECORDED)}
        for name in LABELS:
            columns[name] = pa.DictionaryArray.from_arrays(columns[name].cast(pa.int32()), classes)
        for name, value in (("run", run), ("segment", key)):
            codes = pa.array(np.zeros(rows.num_rows, np.int32))
            columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array([value], pa.string()))
        return pa.table([columns[field.name].cast(field.type) for field in history_schema()], schema=history_schema())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> ProjectError:
    """Returns the error for a file that is not a segment."""
    return ProjectError(f"{path} cannot be read as a segment of a record ({error}): move it away")


def delete_segments_after(directory: Path, step: int) -> list[str]:
    """Deletes the segments with steps after `step`, which a resumed run writes again; returns their names."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    deleted = []
    for path in directory.glob("*.parquet"):
        steps = pq.read_table(path, columns=["step"])["step"]
        if pc.max(steps).as_py() > step:
            path.unlink()
            deleted.append(path.name)
    return deleted
