"""Files are written whole or not at all, by one writer or by many."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gradebook.pipelines.process.errors import exit_with_message
from gradebook.storage.files import atomic_path, write_atomic, write_json

KILLED_WHILE_WRITING = """
import os, pathlib, signal, sys
from gradebook.storage.files import atomic_path
with atomic_path(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_text("ha")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "file.json").write_text("before")
    return tmp_path / "file.json"


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process may grow, not even from nothing."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_text_and_bytes_are_written_unchanged(path):
    for content, written in [("größer\n", "größer\n".encode()), (b"\x00\xff", b"\x00\xff"), ("", b"")]:
        write_atomic(path, content)
        assert path.read_bytes() == written
    assert list(path.parent.iterdir()) == [path]


def test_json_comes_back_also_with_names_that_are_not_utf_8(path):
    data = {"image": os.fsdecode(b"caf\xe9.png"), "class": "größer", "rows": [1, 2.5, None]}
    write_json(path, data)
    assert json.loads(path.read_text(encoding="utf-8")) == data
    assert "größer" in path.read_text(encoding="utf-8") and path.read_bytes().endswith(b"}\n")


def test_data_that_is_no_json_leaves_the_old_content(path):
    with pytest.raises(TypeError):
        write_json(path, {"ok": 1, "not": object()})
    assert path.read_text() == "before" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_the_middle_leaves_the_old_content_and_no_temporary_file(path, failure):
    with pytest.raises(failure), atomic_path(path) as temporary:
        temporary.write_text("ha")
        raise failure
    assert path.read_text() == "before" and list(path.parent.iterdir()) == [path]


def test_a_kill_in_the_middle_leaves_the_old_content_and_a_name_that_says_who_wrote(path):
    killed = subprocess.Popen([sys.executable, "-c", KILLED_WHILE_WRITING, str(path)])
    killed.wait()
    assert path.read_text() == "before"
    (left,) = set(path.parent.iterdir()) - {path}
    assert left.name.startswith(".file.json.") and left.suffix == f".{killed.pid}"


def test_of_many_writers_at_once_each_writes_its_whole_content(path):
    contents = [str(number) * 200_000 for number in range(8)]

    def write_and_read(content: str) -> str:
        write_atomic(path, content)
        return path.read_text()

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(write_and_read, contents * 8))
    assert {*seen, path.read_text()} <= set(contents)
    assert list(path.parent.iterdir()) == [path]


def test_a_new_file_has_the_permissions_that_the_umask_gives(path):
    before = os.umask(0o027)
    try:
        write_atomic(path.with_name("new"), "content")
    finally:
        os.umask(before)
    assert path.with_name("new").stat().st_mode & 0o777 == 0o640


def test_a_full_disk_is_one_sentence_and_leaves_the_old_content(path, full_disk, capsys):
    with pytest.raises(OSError, match=r"file\.json'$"):
        write_atomic(path, "after")
    with pytest.raises(SystemExit), exit_with_message():
        write_json(path, {"after": 1})
    assert capsys.readouterr().err == f"gradebook: no space left to write to {path}: free some, then do it again\n"
    assert path.read_text() == "before" and list(path.parent.iterdir()) == [path]


def test_an_error_names_the_file_that_was_to_be_written_not_the_temporary_one(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        write_atomic(tmp_path / "missing" / "file", "content")
    assert raised.value.filename == str(tmp_path / "missing" / "file")
