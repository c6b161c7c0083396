"""Files of the user: an export writes only where nothing else is, and names reach spreadsheets and folders as names."""

import csv
import io
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
from gradebook.pipelines.export.label_files import as_csv
from gradebook.pipelines.export.label_rows import labelled_rows
from gradebook.pipelines.export.labels import export_labels
from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage import files
from gradebook.storage.csv_cells import escape_cell, unescape_cell
from gradebook.storage.events import Kind, event
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.store import Store, memory_store
from tests.class_changes import add_classes
from tests.pipelines.cli.cli_runner import done, gradebook, refused

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


def test_files_that_came_while_an_export_was_written_are_kept(tmp_path):
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
def test_whoever_reads_meanwhile_sees_one_whole_export(tmp_path, monkeypatch, atomic):
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
def test_a_file_is_never_written_over_whoever_creates_it_meanwhile(store, tmp_path, form, monkeypatch):
    original = os.link

    def link(source: Path, target: Path) -> None:
        target.write_text("mine")
        original(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(ProjectError, match="exists already and is not overwritten"):
        export_labels(store, tmp_path / "z", form)
    assert (tmp_path / "z").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "project", "z"]


# Cells that a spreadsheet would run

CELLS = [
    *("=1+2", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "'=1", "''=1", "'tis", "'", "", "crow", "a=b", " =1"),
    *('=HYPERLINK("http://x";"y")', "=cmd|' /C calc'!A0", "-", "héron"),
]


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_is_read_as_it_was_written_and_no_formula_begins_one(cell):
    written = escape_cell(cell)
    assert unescape_cell(written) == cell
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))
    assert written == cell or cell.lstrip("'")[:1] in "=+-@\t\r\uff1d"


def test_classes_that_look_like_formulas_go_through_a_csv_file_and_back(tmp_path):
    names = [cell for cell in CELLS if cell.strip() == cell and cell and "\r" not in cell and "\t" not in cell]
    (tmp_path / "pictures").mkdir()
    store = memory_store(create_project(tmp_path / "project", names))
    for n, _ in enumerate(names):
        Image.new("RGB", (9, 9), (n, 99, 0)).save(tmp_path / "pictures" / f"={n:02}.png")
    import_images(store, tmp_path / "pictures")
    ids = [sample.sample_id for sample in store.catalog.samples()]
    store.log.append_now([event(Kind.ACCEPTED, i, name, actor="=me") for i, name in zip(ids, names, strict=True)])
    table = list(csv.reader(io.StringIO(as_csv(labelled_rows(store)).decode(), newline="")))
    assert not [cell for row in table for cell in row if cell.startswith(("=", "+", "-", "@"))]
    (tmp_path / "labels.csv").write_bytes(as_csv(labelled_rows(store)))
    again = memory_store(create_project(tmp_path / "again", []))
    import_images(again, tmp_path / "labels.csv", labels=str(tmp_path / "labels.csv"))
    assert [label.label for label in labelled_rows(again).labels] == names


# Names


CONTROLS = ["\n", "\x1b[2J", "\t", "\x00", "\x7f", "\x9b", "\u202e", "\u2066", "\u2028"]


@pytest.mark.parametrize("name", [f"a{control}b" for control in CONTROLS])
def test_a_class_with_a_control_character_is_refused(tmp_path, name):
    with pytest.raises(
        ProjectError, match=r"has a line break or another character that cannot be shown: leave it out"
    ) as error:
        create_project(tmp_path / "new", ["crow", name])
    assert str(error.value).isprintable() and not (tmp_path / "new").exists()
    project = create_project(tmp_path / "new", ["crow"])
    with pytest.raises(ProjectError, match="cannot be shown"):
        add_classes(project, [name])


def test_classes_with_letters_of_any_script_are_fine(tmp_path):
    names = ("héron", "日本", "ابن", "עוף", "👩\u200d🚀", "a b", "#1")
    assert create_project(tmp_path / "new", names).classes == names


def test_a_project_made_before_keeps_its_classes_and_takes_new_ones(tmp_path):
    project = create_project(tmp_path / "new", ["crow"])
    settings = json.loads((project.root / "gradebook.json").read_text())
    (project.root / "gradebook.json").write_text(json.dumps(settings | {"classes": ["a\tb"]}))
    assert add_classes(project, ["owl"]).classes == ("a\tb", "owl")


# Where a project may be


@pytest.mark.parametrize("where", [".", "project", "crow", "crow/project"])
def test_a_project_inside_a_folder_of_images_is_refused(tmp_path, where):
    photos = tmp_path / "photos"
    for folder in ("", "crow", "owl"):
        (photos / folder).mkdir(exist_ok=True)
        for n in range(3):
            Image.new("RGB", (9, 9)).save(photos / folder / f"{n}.png")
    before = contents(tmp_path)
    sentence = refused("init", photos / where, "--classes", "a,b")
    assert "has images, and a project must not be among them: create it elsewhere, such as" in sentence
    assert contents(tmp_path) == before


def test_a_folder_of_folders_of_classes_is_a_folder_of_images(tmp_path):
    for folder in ("crow", "owl"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "photos" / folder / "1.png")
    assert f"such as {tmp_path / 'photos-project'}" in refused("init", tmp_path / "photos")
    assert done("init", tmp_path / "photos-project").out.startswith("made ")


@pytest.mark.parametrize("names", [("logo.png",), ("1.png", "2.png", "3.png", "a.txt", "b.txt", "c.txt")])
def test_a_few_images_beside_other_files_are_no_folder_of_images(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("x")
    create_project(tmp_path / "project", ["a"])


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "a\u202eb"])
def test_a_path_with_a_line_break_is_a_sentence(tmp_path, name):
    sentence = refused("init", tmp_path / name)
    assert "has a line break or another control character: choose another directory" in sentence
    assert list(tmp_path.iterdir()) == []
    create_project(tmp_path / "fine", ["a"]).root.rename(tmp_path / name)
    for command in ("status", "verify", "classes", "queue", "train", "embed", "log", "runs"):
        assert "choose another directory" in refused(command, tmp_path / name)


def test_a_project_that_does_not_exist_with_such_a_path_is_a_sentence_too(tmp_path):
    result = gradebook("status", tmp_path / "a\nb")
    assert result.status == 2 and len(result.err.splitlines()) == 1 and "Traceback" not in result.err
