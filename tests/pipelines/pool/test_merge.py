"""A pool in parts: joined, they are the pool."""

from operator import itemgetter

import pytest

from gradebook.pipelines.pool import selection as module
from gradebook.pipelines.pool.merge import join
from gradebook.pipelines.pool.selection import select_pool
from gradebook.pipelines.process.partition import parse_part
from gradebook.storage.project import ProjectError
from tests.pipelines.colours import CLASSES
from tests.pipelines.pool.conftest import NUMBER
from tests.pipelines.pool.tables import rows


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_three_parts_joined_are_the_pool(classifier, folder, tmp_path, suffix):
    select_pool(classifier, folder, tmp_path / "whole.csv", per_class=5)
    tables = [tmp_path / f"part-{k}{suffix}" for k in (1, 2, 3)]
    reports = [select_pool(classifier, folder, out, per_class=5, part=(k, 3)) for k, out in enumerate(tables, start=1)]
    assert [report.files for report in reports] == [NUMBER // 3] * 3
    counts = join(tables, tmp_path / "joined.csv", per_class=5)
    key = itemgetter("label", "sample_id")
    assert sorted(rows(tmp_path / "joined.csv"), key=key) == sorted(rows(tmp_path / "whole.csv"), key=key)
    assert counts == dict.fromkeys(CLASSES, 5)


def test_a_part_resumes_only_as_the_same_part(classifier, folder, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_finish", lambda *_: None)
        select_pool(classifier, folder, tmp_path / "out.csv", per_class=5, part=(1, 2), save_interval_s=0)
    with pytest.raises(ProjectError, match="was started with another part"):
        select_pool(classifier, folder, tmp_path / "out.csv", per_class=5, part=(2, 2))
    assert select_pool(classifier, folder, tmp_path / "out.csv", per_class=5, part=(1, 2)).files == NUMBER // 2


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2"])
def test_a_malformed_part_is_an_error(text):
    with pytest.raises(ProjectError, match=r"must be K/N, the K-th of N parts"):
        parse_part(text)


def test_a_table_that_cannot_be_joined_is_an_error(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for table in ("other.csv", "missing.csv", "missing.parquet"):
        with pytest.raises(ProjectError, match=rf"{table} is not a finished table of gradebook pool"):
            join([tmp_path / table], tmp_path / "out.csv", per_class=1)
    with pytest.raises(ProjectError, match="must be a new file"):
        join([], tmp_path / "other.csv", per_class=1)
