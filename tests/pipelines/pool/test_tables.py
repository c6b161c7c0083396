"""A pool's table can be imported as images, and so can other tables of paths."""

import pytest

from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.pool.selection import select_pool
from gradebook.storage.events import replay
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import open_store
from tests.pipelines.colours import CLASSES
from tests.pipelines.pool.tables import brute_force


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_the_table_can_be_imported_as_images_without_labels(classifier, folder, tmp_path, name):
    select_pool(classifier, folder, tmp_path / name, per_class=4)
    store = open_store(create_project(tmp_path / "project", CLASSES).root)
    report = import_images(store, tmp_path / name)
    assert (report.imported, report.labelled, report.broken) == (12, 0, 0)
    expected = {i for _, i in brute_force(classifier, folder, 4)}
    assert {s.sample_id for s in store.catalog.samples(Split.TRAIN)} == expected
    assert replay(store.log.read()) == {}


def test_paths_in_a_table_may_be_relative_to_it(folder, tmp_path):
    lines = ["filepath", "images/000.png", "images/./000.png", str(folder / "b/c/001.png"), "images/gone.png", ""]
    lines[1] = f"images/{next(folder.rglob('000.png')).relative_to(folder)}"
    lines[2] = lines[1].replace("images/", "images/./")
    lines[3] = str(next(folder.rglob("001.png")))
    (tmp_path / "list.csv").write_text("\n".join(lines))
    store = open_store(create_project(tmp_path / "project", CLASSES).root)
    report = import_images(store, tmp_path / "list.csv")
    assert (report.imported, report.duplicates, report.broken) == (2, 0, 1)
    assert report.broken_files[0][0] == str(tmp_path / "images" / "gone.png")


def test_a_table_without_paths_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("source,label\na.png,x\n")
    store = open_store(create_project(tmp_path / "project", CLASSES).root)
    with pytest.raises(
        ProjectError,
        match="has the columns source, label, and none is recognised as the column of images: rename it to filepath",
    ):
        import_images(store, tmp_path / "list.csv")
