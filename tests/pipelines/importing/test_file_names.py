"""A file is found by its name however a table, a zip or another system writes it."""

import os
import unicodedata
import zipfile
from pathlib import Path

import pytest

from gradebook.pipelines.importing.file_discovery import walk
from gradebook.pipelines.importing.file_names import DiskNames, KnownFiles
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.importing.zip_archive import unpack
from gradebook.pipelines.inference.predict import list_images
from gradebook.pipelines.pool.file_stream import walk as pool_walk
from gradebook.pipelines.training.config import DataConfig
from gradebook.pipelines.training.plain_datasets import open_dataset
from gradebook.storage.project import ProjectError, create_project, join_names, split_names
from gradebook.storage.samples import Split
from tests.class_changes import add_classes
from tests.pipelines.importing.folders import csv, labels, put

NFC, NFD = (unicodedata.normalize(form, "vögel/é.png") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(("on_disk", "in_table"), [(NFC, NFD), (NFD, NFC), ("vögel/é.png", "vögel\\é.png")])
@pytest.mark.parametrize("kind", ["labels", "images"])
def test_accents_and_backslashes_do_not_matter(quick, images, on_disk, in_table, kind):
    put(images / on_disk)
    table = csv(images / "t.csv", "filepath,label", f"{in_table},cat")
    report = import_images(quick, images if kind == "labels" else Path(table), labels=table)
    assert (report.imported, report.labelled, report.broken) == (1, 1, 0)


def test_a_path_over_a_link_means_the_file_itself(quick, images, tmp_path):
    put(images / "a.png")
    (tmp_path / "link").symlink_to(images)
    table = csv(tmp_path / "t.csv", "filepath,label", f"{tmp_path}/link/a.png,cat")
    assert import_images(quick, images, labels=table).labelled == 1


def test_another_case_counts_where_the_file_system_ignores_it(tmp_path, monkeypatch):
    path = put(tmp_path / "Cat.png")
    assert KnownFiles([str(path)]).find("cat.png", [tmp_path]) is None
    stat = os.stat

    def ignoring_case(name, **options):
        return stat(path if str(name).lower() == str(path).lower() else name, **options)

    monkeypatch.setattr(os, "stat", ignoring_case)
    assert KnownFiles([str(path)]).find("cat.png", [tmp_path]) == str(path)


def test_a_name_that_no_file_has_is_reported_as_it_is_written(tmp_path):
    assert DiskNames().find("no\0ne.png", tmp_path) == str(tmp_path / "no\0ne.png")
    assert KnownFiles([str(tmp_path / "a.png")]).find("no\0ne.png", [tmp_path]) is None


@pytest.mark.parametrize("name", ["vögel/é.png", "图/a.png"])
def test_a_zip_whose_names_are_utf8_without_saying_so(tmp_path, name):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("x" * len(name.encode()), put(tmp_path / "p.png").read_bytes())
    archive.write_bytes(archive.read_bytes().replace(b"x" * len(name.encode()), name.encode()))
    assert (unpack(archive, create_project(tmp_path / "project", []).root) / name).is_file()


def test_a_zip_with_backslashes_between_folders(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("cat\\1.png", put(tmp_path / "p.png").read_bytes())
    assert (unpack(archive, create_project(tmp_path / "project", []).root) / "cat" / "1.png").is_file()


@pytest.mark.parametrize("name", ["C:\\a.png", "\\a.png", "a\\..\\..\\b.png"])
def test_a_backslash_leads_no_further_than_a_slash(tmp_path, name):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(name, put(tmp_path / "p.png").read_bytes())
    with pytest.raises(ProjectError, match="leads elsewhere"):
        unpack(archive, create_project(tmp_path / "project", []).root)


def test_everybody_finds_the_same_files(tmp_path):
    """An import, a pool, predictions and a plain data set."""
    root = tmp_path / "data" / "train"
    wanted = [put(root / "cat" / name, n) for n, name in enumerate(("1.png", "2.gif", "deep/3.avif"))]
    for name in ("cat/.ipynb_checkpoints/1-checkpoint.png", ".git/x/4.png", "cat/__MACOSX/5.png", "cat/.6.png"):
        put(root / name, 9)
    put(tmp_path / "elsewhere" / "7.png", 7)
    (root / "cat" / "link").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "again").symlink_to(tmp_path / "elsewhere")
    found = {path for path, why in walk(str(root))}
    assert len(found) == 4 and {str(path) for path in wanted} < found
    assert {file.filepath for file in pool_walk(str(root))} == found
    assert {str(path) for path in list_images([root], pytest.fail)} == {
        path for path, _ in walk(str(root), is_sorted=True)
    }
    data = open_dataset(DataConfig(kind="folder", images=str(tmp_path / "data")), tmp_path, Split.TRAIN, size=8)
    assert data.classes == ("cat",)
    assert len(data.names) == 4


def test_what_cannot_be_opened_is_named_by_everybody(tmp_path):
    put(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    reasons = {Path(path).name: why for path, why in walk(str(tmp_path)) if why}
    assert reasons.keys() == {"pipe.png", "lost.png"}
    assert {Path(f.filepath).name for f in pool_walk(str(tmp_path)) if f.error} == reasons.keys()
    messages: list[str] = []
    assert [path.name for path in list_images([tmp_path], messages.append)] == ["a.png"]
    assert len(messages) == 2 and all("cannot be used" in message for message in messages)


def test_the_paths_of_a_pools_table_are_relative_to_the_table(tmp_path, monkeypatch):
    put(tmp_path / "data" / "train" / "cat" / "1.png")
    put(tmp_path / "pool" / "2.png", 2)
    table = csv(tmp_path / "pool" / "list.csv", "filepath,label", "2.png,")
    monkeypatch.chdir(tmp_path / "data")
    config = DataConfig(kind="folder", images=str(tmp_path / "data"), pool=table)
    data = open_dataset(config, tmp_path, Split.TRAIN, size=8)
    assert list(data.names) == ["train/cat/1.png", str(tmp_path / "pool" / "2.png")]


@pytest.mark.parametrize("names", [["a", "b"], ["cat, black", "dog"], ['say "hi"', "x"]])
def test_a_class_name_may_have_a_comma(tmp_path, quick, images, names):
    assert split_names(join_names(names)) == names
    project = create_project(tmp_path / "other", [])
    assert add_classes(project, split_names(join_names(names))).classes == tuple(names)


def test_the_advice_to_add_a_class_with_a_comma_can_be_followed(tmp_path, images, capsys):
    import shlex

    from gradebook.pipelines.cli.main import main
    from gradebook.storage.project import read_project
    from gradebook.storage.store import memory_store

    store = memory_store(create_project(tmp_path / "p", ["dog"]))
    put(images / "1.png")
    table = csv(images / "t.csv", "filepath,label", '1.png,"cat, black"')
    with pytest.raises(ProjectError, match="or add them with: ") as error:
        import_images(store, images, labels=table)
    command = str(error.value).partition("or add them with: ")[2]
    assert main(shlex.split(command)[1:]) == 0
    assert read_project(store.project.root).classes == ("dog", "cat, black")
    import_images(store, images, labels=table)
    assert labels(store) == {"1.png": "cat, black"}
