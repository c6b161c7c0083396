"""The comparison of two checkouts finds what is equal and what is not."""

import json
import math
import re
from pathlib import Path

import pytest

from benchmarks import same_run

ROOT = Path(__file__).parent.parent
SMALL = ("--methods", "supervised", "--inputs", "views", "--processes", "1", "--images", "60", "--steps", "2")


@pytest.fixture
def runs(tmp_path) -> tuple[Path, Path]:
    """The directories of two runs that left the same files."""
    for run in (tmp_path / "old", tmp_path / "new"):
        (run / "record").mkdir(parents=True)
        for name in ("student.safetensors", "predictions.parquet", "record/rank0-000001.parquet"):
            (run / name).write_bytes(b"the same bytes")
        rows = [{"step": 2, "seconds": id(run), "loss": 0.1}, {"step": 4, "phases": str(run), "loss": math.nan}]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "old", tmp_path / "new"


def test_runs_with_the_same_files_are_equal_whatever_the_clock_says(runs):
    assert set(same_run.compare_runs(*runs).values()) == {"equal"}


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("student.safetensors", "weights"),
        ("predictions.parquet", "predictions"),
        ("record/rank0-000001.parquet", "record"),
        ("record/rank1-000001.parquet", "record"),
    ],
)
def test_one_changed_file_is_one_difference(runs, file, what):
    (runs[1] / file).write_bytes(b"other bytes")
    row = same_run.compare_runs(*runs)
    assert {name for name, value in row.items() if value != "equal"} == {what}
    assert file in row[what]


def test_a_metric_that_differs_in_its_last_bit_is_named_with_its_step(runs):
    path = runs[1] / "metrics.jsonl"
    path.write_text(path.read_text().replace("0.1", repr(math.nextafter(0.1, 1))))
    assert same_run.compare_runs(*runs)["metrics"] == "DIFFERENT: loss at step 2"


def test_runs_without_files_are_not_equal(tmp_path):
    assert same_run.compare_files(tmp_path, tmp_path, "student.safetensors") == "no file in the old run"
    assert same_run.compare_metrics([], []) == "0 rows, then 0"


@pytest.mark.slow
def test_a_checkout_trains_the_same_twice(tmp_path, capsys):
    assert same_run.main([str(ROOT), str(ROOT), *SMALL, "--work", str(tmp_path / "work")]) == 0
    rows = re.findall(r"^\| supervised \| views \| 1 \|(.*)\|$", capsys.readouterr().out, re.MULTILINE)
    assert rows == [" equal | equal | equal | equal "]
    runs = [tmp_path / "work" / side / "runs" / "supervised-views-1" for side in ("old", "new")]
    assert all(len(same_run.metrics(run)) >= 2 for run in runs)
