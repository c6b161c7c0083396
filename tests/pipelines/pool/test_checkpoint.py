"""A pool that was stopped or killed ends as if it had not been."""

import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gradebook.pipelines.pool.file_stream import walk
from gradebook.pipelines.pool.selection import PoolReport, select_pool
from gradebook.storage.project import ProjectError
from tests.pipelines.colours import break_some
from tests.pipelines.pool.conftest import NUMBER
from tests.pipelines.pool.tables import brute_force, rows


def stopped(at: int, *args, **kwargs) -> None:
    """Runs a pool that saves after each batch, and dies between a batch and its save."""

    def die(done: int) -> None:
        if done >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        select_pool(*args, **kwargs, show=die, save_interval_s=0.0)


def test_a_stopped_pool_ends_as_one_that_was_not_stopped(classifier, folder, tmp_path):
    break_some(folder)
    whole = select_pool(classifier, folder, tmp_path / "whole.csv", per_class=4, threshold=0.5)
    options = {"per_class": 4, "threshold": 0.5}
    for at in (8, 24, 56):
        stopped(at, classifier, folder, tmp_path / "out.csv", **options)
        assert not (tmp_path / "out.csv").exists()
    report = select_pool(classifier, folder, tmp_path / "out.csv", **options)
    assert report.resumed_at == 48, "the batch that was not saved is done again, no other"
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "out.csv.broken.csv").read_bytes() == (tmp_path / "whole.csv.broken.csv").read_bytes()
    same = [name for name in PoolReport.__dataclass_fields__ if name not in ("out", "broken_list", "resumed_at")]
    same = [name for name in same if "second" not in name]
    assert [getattr(report, name) for name in same] == [getattr(whole, name) for name in same]
    assert whole.broken == 4


KILLED = """
import os, signal, sys
from pathlib import Path
from gradebook.pipelines.pool import selection as module
module.BATCH, module.MIN_WORK_PER_SAVE = 8, 0
def die(done):
    if done >= 24:
        os.kill(os.getpid(), signal.SIGKILL)
classifier, folder, out = map(Path, sys.argv[1:])
module.select_pool(classifier, folder, out, per_class=4, show=die, save_interval_s=0.0)
"""


def test_a_killed_pool_resumes(classifier, folder, tmp_path):
    break_some(folder)
    select_pool(classifier, folder, tmp_path / "whole.parquet", per_class=4)
    paths = [str(path) for path in (classifier, folder, tmp_path / "out.parquet")]
    assert subprocess.run([sys.executable, "-c", KILLED, *paths]).returncode == -signal.SIGKILL
    report = select_pool(classifier, folder, tmp_path / "out.parquet", per_class=4)
    assert report.resumed_at == 16
    assert pq.read_table(tmp_path / "out.parquet") == pq.read_table(tmp_path / "whole.parquet")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 12
    broken = (tmp_path / "out.parquet.broken.csv", tmp_path / "whole.parquet.broken.csv")
    assert broken[0].read_bytes() == broken[1].read_bytes()


def test_a_folder_that_has_changed_is_scored_from_the_beginning(classifier, folder, tmp_path, capsys):
    stopped(48, classifier, folder, tmp_path / "out.csv", per_class=4)
    first = next(one.filepath for one in walk(str(folder)))
    Path(first).unlink()
    report = select_pool(classifier, folder, tmp_path / "out.csv", per_class=4)
    assert "has changed" in capsys.readouterr().err
    assert (report.files, report.resumed_at) == (NUMBER - 1, 0)
    assert [(r["label"], r["sample_id"]) for r in rows(tmp_path / "out.csv")] == brute_force(classifier, folder, 4)


def test_a_pool_does_not_resume_with_other_settings(classifier, folder, tmp_path):
    stopped(16, classifier, folder, tmp_path / "out.csv", per_class=4)
    with pytest.raises(
        ProjectError, match=r"started with another per class, threshold: .*or delete .*out\.csv\.progress"
    ):
        select_pool(classifier, folder, tmp_path / "out.csv", per_class=5, threshold=0.1)
