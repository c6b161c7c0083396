"""Which files below a folder are imported: odd names, links, what is hidden or cannot be looked at."""

import json
import os
import shutil
from pathlib import Path

import pytest

from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.store import memory_store
from tests.pipelines.importing.folders import counts, put


@pytest.mark.parametrize("name", ["two\nlines.png", "it's.png", 'say "hi".png', "图 ünï.png", "-rf.png", "a,b;c.png"])
def test_odd_names_are_imported(store, images, name):
    path = put(images / name)
    import_images(store, images)
    assert store.catalog.samples()[0].filepath == str(path)
    assert counts(import_images(store, images)) == {"already_known": 1}


def test_a_name_that_is_not_utf8_is_listed(quick, images):
    put(images / "a.png")
    raw = os.fsencode(images) + b"/b\xff.png"
    try:
        shutil.copyfile(images / "a.png", raw)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    report = import_images(quick, images)
    assert counts(report) == {"imported": 1, "broken": 1}
    assert report.broken_files[0] == (f"{images}/b\\xff.png", "its name is not UTF-8: rename it")
    json.dumps(report.as_json()).encode()


def test_circular_links_end_and_links_to_images_count(quick, images, tmp_path):
    put(images / "a.png", 1)
    put(tmp_path / "elsewhere" / "b.png", 2)
    (images / "up").symlink_to(images)
    (images / "there").symlink_to(tmp_path / "elsewhere")
    (images / "link.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    report = import_images(quick, images)
    assert counts(report) == {"imported": 2, "duplicates": 1}


def test_a_directory_that_cannot_be_read_is_listed(quick, images, monkeypatch):
    put(images / "good" / "a.png")
    put(images / "secret" / "b.png", 2)
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    report = import_images(quick, images)
    assert counts(report) == {"imported": 1, "broken": 1}
    assert report.broken_files == ((str(images / "secret"), "the directory cannot be read (Permission denied)"),)


def test_hidden_files_and_the_projects_own_are_left_out(images):
    store = memory_store(create_project(images, []))
    put(images / "a.png", 1)
    for name in (".thumbs/b.png", "._a.png", "runs/mpl-001/c.png", "lance/d.png"):
        put(images / name, 2)
    assert counts(import_images(store, images)) == {"imported": 1}


def test_one_file_an_empty_folder_and_a_missing_one(quick, images, tmp_path):
    path = put(images / "a.png")
    assert counts(import_images(quick, path)) == {"imported": 1}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProjectError, match=r"there are no images in .*empty"):
        import_images(quick, tmp_path / "empty")
    with pytest.raises(ProjectError, match=r"there is nothing at .*missing"):
        import_images(quick, tmp_path / "missing")
    (tmp_path / "a.txt").write_text("x")
    assert counts(import_images(quick, tmp_path / "a.txt")) == {"broken": 1}


def test_a_relative_folder_is_the_same_as_an_absolute_one(quick, images, monkeypatch):
    put(images / "a.png")
    import_images(quick, images)
    monkeypatch.chdir(images.parent)
    assert counts(import_images(quick, Path("images"))) == {"already_known": 1}
    assert counts(import_images(quick, Path("images/a.png"))) == {"already_known": 1}
