"""One writer at a time, and names that SQL could misread."""

import threading

import pyarrow as pa
import pytest

from gradebook.storage import lance_tables
from gradebook.storage.lance_tables import Tables, one_of, quoted
from gradebook.storage.project import ProjectError

SCHEMA = pa.schema({"name": pa.string()})


def add(tables: Tables, name: str) -> None:
    with tables.open_for_writing("t", SCHEMA) as table:
        table.add(pa.table({"name": [name]}))


def names(tables: Tables) -> list[str]:
    rows = tables.read("t", ["name"])
    return [] if rows is None else rows["name"].to_pylist()


def test_a_writer_waits_until_the_other_is_done(tmp_path):
    one, other = Tables(tmp_path), Tables(tmp_path)
    add(one, "first")
    waiting = threading.Thread(target=add, args=(other, "third"))
    with one.write_lock():
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        assert names(other) == ["first"], "readers do not wait"
        add(one, "second")
    waiting.join()
    assert names(one) == names(other) == ["first", "second", "third"]


def test_threads_that_share_one_object_take_turns_too(tmp_path):
    tables = Tables(tmp_path)
    threads = [threading.Thread(target=add, args=(tables, str(n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names(tables)) == sorted(str(n) for n in range(8))


def test_a_writer_that_never_ends_is_a_one_line_error(tmp_path, monkeypatch):
    monkeypatch.setattr(lance_tables, "LOCK_TIMEOUT_S", 0.05)
    with Tables(tmp_path).write_lock(), pytest.raises(ProjectError, match="another process has been writing"):
        add(Tables(tmp_path), "x")


def test_an_error_while_writing_frees_the_lock(tmp_path):
    tables = Tables(tmp_path)
    with pytest.raises(RuntimeError), tables.write_lock():
        raise RuntimeError
    add(Tables(tmp_path), "x")
    assert names(tables) == ["x"]


@pytest.mark.parametrize("name", ["it's", "''", '"', "a\nb", "\\", "%_", "x' OR '1'='1", "图"])
def test_any_text_can_be_queried(tmp_path, name):
    tables = Tables(tmp_path)
    add(tables, name)
    add(tables, "other")
    for where in (f"name = {quoted(name)}", one_of("name", [name, "third"])):
        rows = tables.read("t", ["name"], where)
        assert rows is not None
        assert rows["name"].to_pylist() == [name]


def test_reading_creates_no_table(tmp_path):
    tables = Tables(tmp_path / "none")
    assert tables.read("t", ["name"]) is tables.open("t") is None
    assert list(tmp_path.iterdir()) == []


def test_a_stamp_changes_with_every_write_and_only_then(tmp_path):
    tables, seen = Tables(tmp_path), list[str | None]()
    for write in (lambda: None, lambda: add(tables, "x"), lambda: add(tables, "x"), lambda: tables.drop("t")):
        write()
        seen.append(tables.stamp(["t", "other"]))
        assert Tables(tmp_path).stamp(["t", "other"]) == seen[-1]
    add(tables, "x")
    assert len({*seen[:3], tables.stamp(["t", "other"])}) == 4, "made anew it is another table"
    assert Tables(tmp_path, "s3://bucket/store").stamp(["t"]) is None
