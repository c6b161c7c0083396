"""Files of the user: an export writes only where nothing else is."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from gradebook.pipelines.export.directory import MARK, written_directory
from gradebook.pipelines.export.labels import export_labels
from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage import files
from gradebook.storage.events import Kind, event
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.store import Store, memory_store

ROOT = Path(__file__).parents[2]


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def write(directory: Path, text: str, *names: str) -> None:
    with written_directory(directory, "trial") as draft:
        for name in names:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_text(text)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The directory of a web site, which has the names that an export has too."""
    site = tmp_path / "site"
    (site / "pages").mkdir(parents=True)
    for name in ("README.md", "config.json", "classes.json", "model.onnx", "labels.json", "pages/index.html"):
        (site / name).write_text(f"my {name}")
    return site


# Directories of exports


def test_a_directory_with_other_files_is_left_as_it_is(site):
    before = contents(site.parent)
    with pytest.raises(ProjectError, match=r"site holds other files \(README.md, classes.json, config.json, \.\.\.\)"):
        write(site, "ours", "README.md")
    assert contents(site.parent) == before


@pytest.mark.parametrize("change", ["add", "edit", "link", "hidden"])
def test_an_earlier_export_to_which_the_user_added_something_is_left_as_it_is(tmp_path, change):
    out = tmp_path / "out"
    write(out, "first", "README.md", "a/b.txt")
    if change == "add":
        (out / "a" / "notes.txt").write_text("mine")
    elif change == "edit":
        (out / "README.md").write_text("mine now")
    elif change == "hidden":
        (out / ".git").mkdir()
        (out / ".git" / "config").write_text("mine")
    else:
        (out / "a" / "mine").symlink_to(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ProjectError, match="holds other files"):
        write(out, "second", "README.md")
    assert contents(tmp_path) == before


def test_an_earlier_export_is_replaced_as_a_whole(tmp_path):
    write(tmp_path / "out", "first", "README.md", "old/deep/file.txt")
    write(tmp_path / "out", "second", "README.md", "new.txt")
    assert contents(tmp_path / "out").keys() == {"README.md", "new.txt", MARK}
    assert (tmp_path / "out" / "README.md").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_mark_that_names_files_elsewhere_deletes_none(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    write(tmp_path / "out", "first", "a.txt")
    mark = json.loads((tmp_path / "out" / MARK).read_text())
    mark["files"]["../mine.txt"] = [4, (tmp_path / "mine.txt").stat().st_mtime_ns]
    (tmp_path / "out" / MARK).write_text(json.dumps(mark))
    write(tmp_path / "out", "second", "a.txt")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_files_added_while_an_export_is_written_are_not_deleted(tmp_path):
    with pytest.raises(ProjectError, match="holds other files"), written_directory(tmp_path / "out", "trial") as draft:
        (draft / "a.txt").write_text("ours")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a.txt").write_text("mine")
    assert contents(tmp_path) == {"out/a.txt": b"mine"}


def test_an_export_of_another_kind_is_not_replaced(tmp_path):
    write(tmp_path / "out", "first", "a.txt")
    with (
        pytest.raises(ProjectError, match=r"is an export of another kind \(trial\)"),
        written_directory(tmp_path / "out", "folder"),
    ):
        pass


@pytest.mark.parametrize("atomic", [True, False], ids=["exchanged", "renamed"])
def test_readers_see_one_complete_export_at_every_moment(tmp_path, monkeypatch, atomic):
    out, seen, over = tmp_path / "out", set(), threading.Event()
    if not atomic:
        monkeypatch.setattr(files, "_exchange_atomically", lambda first, second: False)
    elif sys.platform not in ("linux", "darwin"):
        pytest.skip("this system cannot exchange directories")
    write(out, "0", "a.txt", "b.txt")

    def read() -> None:
        while not over.is_set():
            try:
                handle = os.open(out, os.O_RDONLY)
            except FileNotFoundError:
                seen.add("missing")
                continue
            texts = []
            for name in ("a.txt", "b.txt"):
                try:
                    texts.append(Path(f"/proc/self/fd/{handle}/{name}").read_text())
                except FileNotFoundError:  # the earlier export, which is being deleted
                    texts.append(None)
            os.close(handle)
            seen.add(len({text for text in texts if text is not None}))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 60):
        write(out, str(number), "a.txt", "b.txt")
    over.set()
    reader.join()
    assert seen - {"missing"} <= {0, 1}, "never files of two exports"
    assert not atomic or "missing" not in seen


def test_an_export_that_is_killed_leaves_the_earlier_one_and_the_next_tidies_up(tmp_path):
    code = """
import sys, time
from pathlib import Path
from gradebook.pipelines.export.directory import written_directory
with written_directory(Path(sys.argv[1]), "trial") as draft:
    (draft / "a.txt").write_text("half")
    print("writes", flush=True)
    time.sleep(60)
"""
    out = tmp_path / "out"
    write(out, "first", "a.txt")
    writer = subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert writer.stdout is not None and writer.stdout.readline() == "writes\n"
    write(tmp_path / "other", "x", "a.txt")
    assert len(list(tmp_path.iterdir())) == 3, "a draft that is being written stays"
    writer.kill()
    writer.wait()
    assert (out / "a.txt").read_text() == "first"
    (tmp_path / ".out.draft").mkdir()
    (tmp_path / ".out.mine.draft").mkdir()
    (tmp_path / ".out.mine.draft" / "thesis.txt").write_text("mine")
    write(out, "second", "a.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.draft", ".out.mine.draft", "other", "out"]


def test_after_an_error_nothing_is_there(tmp_path):
    with pytest.raises(ZeroDivisionError), written_directory(tmp_path / "out", "trial") as draft:
        (draft / "a.txt").write_text("half")
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_killed_at_any_moment_an_export_is_the_old_or_the_new_one(tmp_path):
    code = """
import sys
from pathlib import Path
from gradebook.pipelines.export.directory import written_directory
print("ready", flush=True)
for number in range(10**6):
    with written_directory(Path(sys.argv[1]), "trial") as draft:
        for name in "abc":
            (draft / name).write_text(str(number))
"""
    draw = random.Random(20261130)
    for _ in range(20):
        command = [sys.executable, "-c", code, str(tmp_path / "out")]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        threading.Event().wait(draw.uniform(0, 0.05))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        if (tmp_path / "out").exists():
            whole = contents(tmp_path / "out")
            assert whole.keys() == {"a", "b", "c", MARK} and len({whole[name] for name in "abc"}) == 1
    write(tmp_path / "out", "last", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_exchange_without_the_systems_call_brings_both_to_their_place(tmp_path, monkeypatch):
    for atomic in (True, False):
        if not atomic:
            monkeypatch.setattr(files, "_exchange_atomically", lambda first, second: False)
        for name in ("one", "two"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "name").write_text(name)
        files.exchange(tmp_path / "one", tmp_path / "two")
        assert [(tmp_path / name / "name").read_text() for name in ("one", "two")] == ["two", "one"]
        with pytest.raises(FileNotFoundError):
            files.exchange(tmp_path / "nothing", tmp_path / "two")
        assert (tmp_path / "two" / "name").read_text() == "one"


# Exports of labels


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (9, 9), "red").save(tmp_path / "pictures" / "red.png")
    store = memory_store(create_project(tmp_path / "project", ["crow"]))
    import_images(store, tmp_path / "pictures")
    store.log.append_now([event(Kind.ACCEPTED, store.catalog.ids()[0], "crow", actor="ada")])
    return store


@pytest.mark.parametrize("form", ["csv", "parquet", "coco", "folder", "fiftyone"])
def test_a_draft_of_the_user_is_not_deleted(store, tmp_path, form):
    (tmp_path / ".z.draft").mkdir()
    (tmp_path / ".z.draft" / "novel.txt").write_text("mine")
    export_labels(store, tmp_path / "z", form)
    assert (tmp_path / ".z.draft" / "novel.txt").read_text() == "mine"


@pytest.mark.parametrize("form", ["folder", "fiftyone"])
def test_an_export_of_labels_over_an_earlier_one_says_so(store, tmp_path, form):
    assert not export_labels(store, tmp_path / "z", form).replaced
    store.log.append_now([event(Kind.REJECTED, store.catalog.ids()[0], actor="ada")])
    store.log.append_now([event(Kind.ACCEPTED, store.catalog.ids()[0], "crow", actor="bob")])
    assert export_labels(store, tmp_path / "z", form).replaced


@pytest.mark.parametrize("form", ["csv", "parquet", "coco"])
def test_a_file_that_appears_during_an_export_is_not_overwritten(store, tmp_path, form, monkeypatch):
    original = os.link

    def link(source: Path, target: Path) -> None:
        target.write_text("mine")
        original(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(ProjectError, match="exists already and is not overwritten"):
        export_labels(store, tmp_path / "z", form)
    assert (tmp_path / "z").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "project", "z"]
