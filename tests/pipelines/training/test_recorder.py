import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from gradebook.mpl.step import StepPredictions, step_predictions
from gradebook.pipelines.training import recorder as module
from gradebook.pipelines.training.recorder import Recorder
from gradebook.storage import checksums
from gradebook.storage.record import MemoryRecord
from gradebook.storage.segments import delete_segments_after

CLASSES = ("crow", "heron", "owl")
IDS = [f"s{n}" for n in range(6)]


def predictions_for(n: int, label: int = 1) -> StepPredictions:
    """Returns predictions for n samples: `label` by the teacher, the last class with certainty by the student."""
    teacher, student = torch.zeros(n, 3), torch.zeros(n, 3)
    teacher[:, label], student[:, 2] = 2.0, 50.0
    feedback = torch.tensor([[0.1, 0.2, 0.4]]).repeat(n, 1)
    return step_predictions(teacher=teacher, student=student, feedback=feedback)


def segments(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != checksums.FILE)


def test_predictions_are_read_back_row_by_row(tmp_path):
    recorder = Recorder(tmp_path, CLASSES, IDS)
    recorder.put(1, torch.tensor([4, 0]), predictions_for(2))
    recorder.put(2, torch.tensor([4]), predictions_for(1, label=0))
    recorder.close()
    assert segments(tmp_path) == ["rank0-000001.parquet"]
    record = MemoryRecord()
    assert record.fold("r", tmp_path) == 3
    first, second = record.history("s4")
    assert (first["step"], first["teacher_label"], first["student_label"]) == (1, "heron", "owl")
    assert first["teacher_probability"] == pytest.approx(torch.tensor([0.0, 2, 0]).softmax(0)[1].item())
    assert first["student_probability"] == pytest.approx(1.0)
    assert (first["feedback"], first["best_label"]) == (pytest.approx(0.2), "owl")
    assert first["best_gain"] == pytest.approx(0.2)
    assert (second["step"], second["teacher_label"], second["feedback"]) == (2, "crow", pytest.approx(0.1))
    assert [row["step"] for row in record.history("s0")] == [1]


def test_columns_without_values_are_null(tmp_path):
    recorder = Recorder(tmp_path, CLASSES, IDS)
    recorder.put(1, torch.tensor([0, 1]), step_predictions(student=torch.eye(2, 3)))
    recorder.put(2, torch.tensor([2]), predictions_for(1))
    recorder.close()
    rows = pq.read_table(tmp_path / "rank0-000001.parquet").to_pylist()
    assert [row["teacher_label"] for row in rows] == [None, None, 1]
    assert [row["feedback"] is None for row in rows] == [True, True, False]
    assert [row["student_label"] for row in rows] == [0, 1, 2]


def test_a_segment_ends_at_each_flush_and_where_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_SEGMENT_ROWS", 4)
    recorder = Recorder(tmp_path, CLASSES, IDS)
    recorder.put(1, torch.tensor([0]), predictions_for(1))
    recorder.flush()
    assert segments(tmp_path) == ["rank0-000001.parquet"], "written when flush returns"
    for step in (2, 3, 4):
        recorder.put(step, torch.tensor([0, 1]), predictions_for(2))
    recorder.flush()
    recorder.flush()
    recorder.close()
    steps = [pq.read_table(tmp_path / name)["step"].to_pylist() for name in segments(tmp_path)]
    assert steps == [[1], [2, 2, 3, 3], [4, 4]], "and nothing is written for nothing"


def test_processes_write_separate_segments(tmp_path):
    for process in (0, 1):
        recorder = Recorder(tmp_path, CLASSES, IDS, process=process)
        recorder.put(1, torch.tensor([process]), predictions_for(1))
        recorder.close()
    assert segments(tmp_path) == ["rank0-000001.parquet", "rank1-000001.parquet"]


def test_a_reader_never_sees_half_a_segment(tmp_path, monkeypatch):
    seen = []
    write = pq.write_table

    def watched(table, where, **options):
        write(table, where, **options)
        seen.append((Path(where).name, list(tmp_path.glob("*.parquet"))))

    monkeypatch.setattr(pq, "write_table", watched)
    recorder = Recorder(tmp_path, CLASSES, IDS)
    recorder.put(1, torch.tensor([0]), predictions_for(1))
    recorder.close()
    assert seen == [(".rank0-000001.tmp", [])]


def test_a_temporary_file_left_by_a_kill_is_deleted(tmp_path):
    (tmp_path / ".rank0-000003.tmp").write_bytes(b"half")
    (tmp_path / ".rank1-000003.tmp").write_bytes(b"another process's")
    Recorder(tmp_path, CLASSES, IDS).close()
    assert segments(tmp_path) == [".rank1-000003.tmp"]


def full_disk(*_args, **_options):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_raised_at_the_next_flush(tmp_path, monkeypatch):
    monkeypatch.setattr(pq, "write_table", full_disk)
    recorder = Recorder(tmp_path, CLASSES, IDS)
    recorder.put(1, torch.tensor([0]), predictions_for(1))
    with pytest.raises(OSError, match=r"record cannot be written to .*No space left on device.*free some space"):
        recorder.flush()


def test_a_full_disk_is_raised_at_the_next_step(tmp_path, monkeypatch):
    monkeypatch.setattr(pq, "write_table", full_disk)
    monkeypatch.setattr(module, "MAX_SEGMENT_ROWS", 1)
    recorder = Recorder(tmp_path, CLASSES, IDS)
    with pytest.raises(OSError, match="free some space"):
        for step in range(10_000):
            recorder.put(step, torch.tensor([0]), predictions_for(1))
    with pytest.raises(OSError, match="free some space"):
        recorder.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_directory_is_an_error(tmp_path):
    recorder = Recorder(tmp_path, CLASSES, IDS)
    tmp_path.chmod(0o500)
    recorder.put(1, torch.tensor([0]), predictions_for(1))
    with pytest.raises(OSError, match="record cannot be written"):
        recorder.flush()
    tmp_path.chmod(0o700)


def test_segments_after_a_checkpoint_are_removed(tmp_path):
    recorder = Recorder(tmp_path, CLASSES, IDS)
    for step in (1, 2, 3, 4):
        recorder.put(step, torch.tensor([0]), predictions_for(1))
        if step in (2, 3):
            recorder.flush()
    recorder.close()
    assert len(segments(tmp_path)) == 3
    delete_segments_after(tmp_path, 2)
    assert segments(tmp_path) == ["rank0-000001.parquet"]
    again = Recorder(tmp_path, CLASSES, IDS)
    again.put(3, torch.tensor([0]), predictions_for(1))
    again.close()
    assert segments(tmp_path) == ["rank0-000001.parquet", "rank0-000002.parquet"]
    record = MemoryRecord()
    record.fold("r", tmp_path)
    assert [row["step"] for row in record.history("s0")] == [1, 2, 3]
    delete_segments_after(tmp_path, 0)
    assert segments(tmp_path) == []
