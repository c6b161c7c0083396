import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradebook.storage.label_snapshots import Extent, extent, read_snapshots
from gradebook.storage.project import ProjectError
from gradebook.storage.segments import RECORDED, segment_schema


def write(directory, name, classes, rows):
    """Writes rows of (step, sample, teacher's class, student's class) as a segment, None where nothing was recorded."""
    directory.mkdir(exist_ok=True)
    schema = segment_schema(classes)
    columns = {n: pa.nulls(len(rows), schema.field(n).type) for n in RECORDED}
    columns["step"] = pa.array([step for step, *_ in rows], pa.int32())
    columns["sample_id"] = pa.array([sample for _, sample, _, _ in rows], pa.string()).dictionary_encode()
    for k, column in ((2, "teacher_label"), (3, "student_label")):
        columns[column] = pa.array([None if r[k] is None else classes.index(r[k]) for r in rows], pa.int16())
    pq.write_table(pa.table([columns[n] for n in schema.names], schema=schema), directory / f"{name}.parquet")


def named(snapshots, who):
    return {
        sample: [None if k < 0 else snapshots.classes[k] for k in row]
        for sample, row in zip(snapshots.sample_ids, getattr(snapshots, who), strict=True)
    }


def test_the_last_label_before_each_moment_counts_if_it_is_near_enough(tmp_path):
    write(
        tmp_path,
        "rank0-000001",
        ["crow", "heron"],
        [(1, "a", "crow", None), (2, "b", "heron", "crow"), (3, "a", "heron", "crow")],
    )
    write(tmp_path, "rank1-000001", ["heron", "owl"], [(2, "c", "owl", "heron"), (9, "b", "heron", "owl")])
    assert extent(tmp_path) == Extent(1, 9, 5)
    snapshots = read_snapshots(tmp_path, [2, 9], 4)
    assert named(snapshots, "teacher") == {"a": ["crow", None], "b": ["heron", "heron"], "c": ["owl", None]}
    assert named(snapshots, "student") == {"a": [None, None], "b": ["crow", "owl"], "c": ["heron", None]}
    assert named(read_snapshots(tmp_path, [3], 4), "teacher")["a"] == ["heron"], "crow was predicted before"
    assert named(read_snapshots(tmp_path, [3], 1), "teacher") == {"a": ["heron"], "b": [None], "c": [None]}


def test_segments_out_of_reach_are_not_opened(tmp_path, monkeypatch):
    write(tmp_path, "rank0-000001", ["crow"], [(1, "a", "crow", "crow")])
    write(tmp_path, "rank0-000002", ["crow"], [(8, "a", "crow", "crow")])
    opened = []
    read = pq.read_table
    monkeypatch.setattr(pq, "read_table", lambda path, **how: opened.append((path.name, how)) or read(path, **how))
    read_snapshots(tmp_path, [9], 3)
    ((name, how),) = opened
    assert name == "rank0-000002.parquet" and set(how["columns"]) == {
        "step",
        "sample_id",
        "teacher_label",
        "student_label",
    }


def test_an_empty_record_has_no_steps_and_a_corrupt_segment_is_an_error(tmp_path):
    assert extent(tmp_path / "nowhere") is None
    (tmp_path / "rank0-000001.parquet").write_text("truncated")
    with pytest.raises(ProjectError, match="move it away"):
        extent(tmp_path)
