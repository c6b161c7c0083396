"""COCO files, our own and others', are imported with their classes."""

import json
from pathlib import Path

import pytest

from gradebook.pipelines.cli.main import main
from gradebook.pipelines.export.labels import export_labels
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.importing.sources import opened_source
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.store import memory_store
from tests.pipelines.importing.folders import labels, put


def coco(path: Path, names: list[str], annotations: list[tuple[int, int]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [{"id": n, "file_name": name, "width": 20, "height": 12} for n, name in enumerate(names)],
        "annotations": [{"id": n, "image_id": i, "category_id": c} for n, (i, c) in enumerate(annotations)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
    }
    path.write_text(json.dumps(content))
    return path


def test_what_was_exported_is_imported_again(quick, images, tmp_path):
    for seed, name in enumerate(("train/cat/1.png", "train/dog/2.png", "test/cat/3.png")):
        put(images / name, seed)
    import_images(quick, images, labels="folders")
    export_labels(quick, tmp_path / "out.json", "coco")
    other = memory_store(create_project(tmp_path / "other", []))
    source, given = opened_source(other.project.root, tmp_path / "out.json", "none")
    report = import_images(other, source, labels=given)
    assert (report.imported, report.labelled, report.label_problems, report.test_images) == (3, 3, 0, 1)
    assert labels(other) == labels(quick)


@pytest.mark.parametrize("folder", ["", "images", "../images"])
@pytest.mark.parametrize("by_labels", [True, False])
def test_images_lie_where_coco_files_have_them(quick, images, tmp_path, folder, by_labels):
    base = tmp_path / "set" / "annotations"
    for n in range(3):
        put(base / folder / f"{n}.png", n)
    source = coco(base / "instances.json", ["0.png", "1.png", "2.png"], [(0, 7), (0, 7), (1, 9)])
    asked = (base / folder, str(source)) if by_labels else (source, "none")
    found, given = opened_source(quick.project.root, *asked)
    report = import_images(quick, found, labels=given)
    assert labels(quick) == {"0.png": "cat", "1.png": "dog"}
    assert (report.imported, report.label_problems, report.broken) == (3, 0, 0)


def test_an_image_of_two_classes_is_a_conflict(quick, images):
    put(images / "0.png")
    source, given = opened_source(quick.project.root, coco(images / "c.json", ["0.png"], [(0, 7), (0, 9)]), "none")
    assert import_images(quick, source, labels=given).conflicts == 1


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"images": [{"id": 1}], "annotations": [], "categories": []}'])
def test_another_json_file_is_refused(quick, tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ProjectError, match=r"x\.json (is not a COCO file|cannot be read as COCO JSON)"):
        opened_source(quick.project.root, tmp_path / "x.json", "none")


def test_an_import_of_nothing_fails(tmp_path, capsys):
    root = create_project(tmp_path / "p", []).root
    (tmp_path / "notes.txt").write_text("no image")
    assert main(["import", str(root), str(tmp_path / "notes.txt")]) != 0
    assert "cannot be read" in capsys.readouterr().out
