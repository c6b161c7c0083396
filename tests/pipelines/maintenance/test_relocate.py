"""A moved folder: files that are the same are found again, and nothing is guessed of the others."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.maintenance.relocate import format_relocation, relocate
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Sample, Split, sample_id
from gradebook.storage.store import Store, memory_store, open_store


@pytest.fixture(params=["memory", "lance"])
def store(request, tmp_path) -> Store:
    """Six images in two folders, the last a copy of the first, labelled by their folders' names."""
    for n in range(5):
        path = tmp_path / "old" / ("cat" if n % 2 else "dog") / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    shutil.copy(tmp_path / "old/dog/0.png", tmp_path / "old/dog/copy.png")
    project = create_project(tmp_path / "project", [])
    store = memory_store(project) if request.param == "memory" else open_store(project.root)
    import_images(store, tmp_path / "old", labels="folders")
    return store


def paths(store: Store) -> list[str]:
    return [file.filepath for file in store.catalog.files()]


def test_a_moved_folder_keeps_its_labels_and_ids(store, tmp_path):
    before, events = store.catalog.samples(), store.log.read()
    shutil.move(tmp_path / "old", tmp_path / "new")
    done = relocate(store, tmp_path / "old", tmp_path / "new")
    assert (done.moved, done.missing, done.different) == (6, [], [])
    assert paths(store) == sorted(str(p) for p in (tmp_path / "new").rglob("*.png"))
    after = store.catalog.samples()
    assert [s.sample_id for s in after] == [s.sample_id for s in before]
    for sample in after:
        assert sample_id(Path(sample.filepath).read_bytes()) == sample.sample_id
    assert store.log.read() == events
    again = import_images(store, tmp_path / "new", labels="folders")
    assert (again.already_known, again.imported, again.labelled) == (6, 0, 0)
    assert (tmp_path / "old").exists() is False


def test_missing_or_changed_files_keep_their_path_and_are_named(store, tmp_path):
    shutil.move(tmp_path / "old", tmp_path / "new")
    (tmp_path / "new/cat/1.png").unlink()
    Image.new("RGB", (3, 3)).save(tmp_path / "new/cat/3.png")
    done = relocate(store, tmp_path / "old", tmp_path / "new")
    gone, other = str(tmp_path / "old/cat/1.png"), str(tmp_path / "old/cat/3.png")
    assert (done.moved, done.missing, done.different) == (4, [gone], [other])
    assert {gone, other} < set(paths(store)) and str(tmp_path / "new/cat/3.png") not in paths(store)
    words = format_relocation(done.as_json())
    assert gone in words and other in words


def test_a_copy_with_other_times_is_recognised_by_its_content(store, tmp_path):
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    for path in (tmp_path / "new").rglob("*.png"):
        os.utime(path, ns=(9, 9))
    assert relocate(store, tmp_path / "old", tmp_path / "new").moved == 6
    assert {file.mtime_ns for file in store.catalog.files()} == {9}


def test_a_file_of_the_same_size_and_another_content_is_different(store, tmp_path):
    shutil.move(tmp_path / "old", tmp_path / "new")
    path = tmp_path / "new/cat/1.png"
    path.write_bytes(path.read_bytes()[::-1])
    assert relocate(store, tmp_path / "old", tmp_path / "new").different == [str(tmp_path / "old/cat/1.png")]


def test_a_dry_run_reports_the_same_and_changes_nothing(store, tmp_path):
    shutil.move(tmp_path / "old", tmp_path / "new")
    before = store.catalog.files()
    dry = relocate(store, tmp_path / "old", tmp_path / "new", dry_run=True)
    assert store.catalog.files() == before
    wet = relocate(store, tmp_path / "old", tmp_path / "new")
    assert (dry.moved, dry.missing, dry.different) == (wet.moved, wet.missing, wet.different)
    assert "would be found" in format_relocation(dry.as_json())


def test_a_subfolder_or_one_file_can_be_moved_and_moved_back(store, tmp_path):
    shutil.move(tmp_path / "old/cat", tmp_path / "cats")
    shutil.move(tmp_path / "old/dog/2.png", tmp_path / "two.png")
    before = paths(store)
    assert relocate(store, tmp_path / "old/cat", tmp_path / "cats").moved == 2
    assert relocate(store, tmp_path / "old/dog/2.png", tmp_path / "two.png").moved == 1
    assert all(Path(path).exists() for path in paths(store)) and len(paths(store)) == 6
    shutil.move(tmp_path / "cats", tmp_path / "old/cat")
    shutil.move(tmp_path / "two.png", tmp_path / "old/dog/2.png")
    relocate(store, tmp_path / "cats", tmp_path / "old/cat")
    relocate(store, tmp_path / "two.png", tmp_path / "old/dog/2.png")
    assert paths(store) == before
    assert {s.filepath for s in store.catalog.samples()} < set(before)


def test_a_folder_that_was_imported_through_a_link_is_found_by_either_name(store, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    assert relocate(store, tmp_path / "link", tmp_path / "new").moved == 6


def test_a_folder_with_the_same_prefix_is_another_folder(store, tmp_path):
    (tmp_path / "ol").mkdir()
    with pytest.raises(ProjectError, match="no file below"):
        relocate(store, tmp_path / "ol", tmp_path / "old")


def test_a_sample_whose_file_is_not_listed_moves_too(store, tmp_path):
    path = tmp_path / "lone" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"content")
    held = sample_id(b"content")
    store.catalog.add(
        [Sample(sample_id=held, filepath=str(path), split=Split.TRAIN, width=1, height=1, fingerprint=bytes(200))], []
    )
    shutil.move(tmp_path / "lone", tmp_path / "found")
    assert relocate(store, tmp_path / "lone", tmp_path / "found").moved == 1
    assert store.catalog.get([held])[0].filepath == str(tmp_path / "found" / "a.png")


@pytest.mark.parametrize(
    ("old", "new", "sentence"), [("no", "old", "no file below .*old/cat"), ("old", "no", "nothing at")]
)
def test_a_missing_folder_is_a_one_line_error(store, tmp_path, old, new, sentence):
    with pytest.raises(ProjectError, match=sentence):
        relocate(store, tmp_path / old, tmp_path / new)
