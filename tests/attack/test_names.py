"""Names of classes, images and folders stay names in spreadsheets, terminals and paths."""

import csv
import io
import json

import pytest
from PIL import Image

from gradebook.pipelines.export.label_files import as_csv
from gradebook.pipelines.export.label_rows import labelled_rows
from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage.csv_cells import escape_cell, unescape_cell
from gradebook.storage.events import Kind, event
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.store import memory_store
from tests.class_changes import add_classes
from tests.pipelines.cli.cli_runner import done, gradebook, refused

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
    before = sorted(tmp_path.rglob("*"))
    sentence = refused("init", photos / where, "--classes", "a,b")
    assert "has images, and a project must not be among them: create it elsewhere, such as" in sentence
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_folders_of_classes_is_a_folder_of_images(tmp_path):
    for folder in ("crow", "owl"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "photos" / folder / "1.png")
    assert f"such as {tmp_path / 'photos-project'}" in refused("init", tmp_path / "photos")
    assert done("init", tmp_path / "photos-project").out.startswith("created ")


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
