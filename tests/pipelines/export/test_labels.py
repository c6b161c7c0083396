"""Exported labels are those that stand, in forms that other programs read; the images stay as they are."""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from gradebook.pipelines.export.label_files import as_coco, as_csv
from gradebook.pipelines.export.label_rows import labelled_rows, rejected_rows
from gradebook.pipelines.export.labels import export_labels
from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage.events import Kind, event
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, memory_store
from tests.pipelines.projects import CLASSES, LABELLED, TEST, class_of, make_project
from tests.polling import until


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return make_project(tmp_path_factory.mktemp("project"))


def expected(store: Store) -> dict[str, str]:
    samples = store.catalog.samples()
    known = [*samples[:LABELLED], *(s for s in samples if s.split is Split.TEST)]
    return {s.filepath: class_of(s) for s in known}


def test_the_table_has_the_current_labels_and_their_actors(store):
    other = memory_store(store.project)
    first, second, third, *_ = store.catalog.samples()
    other.catalog.add([first, second, third], [])
    other.log.append([event(Kind.IMPORTED, s.sample_id, "crow", actor="import") for s in (first, second)])
    other.log.append([event(Kind.RELABELLED, first.sample_id, "owl", actor="ada")])
    other.log.append([event(Kind.REJECTED, second.sample_id, actor="ada")])
    (row,) = labelled_rows(other).labels
    assert (row.filepath, row.label, row.split, row.by) == (first.filepath, "owl", "train", "ada")
    (rejected,) = rejected_rows(other).labels
    assert (rejected.filepath, rejected.label) == (second.filepath, "rejected")


def test_csv_and_parquet_are_equal_and_can_be_imported(store, tmp_path):
    done = export_labels(store, tmp_path / "labels.csv", "csv")
    assert (done.labels, done.missing) == (LABELLED + TEST, 0)
    table = pd.read_csv(done.out)
    assert dict(zip(table["filepath"], table["label"], strict=True)) == expected(store)
    export_labels(store, tmp_path / "labels.parquet", "parquet")
    assert pq.read_table(tmp_path / "labels.parquet").to_pylist() == table.to_dict("records")
    again = memory_store(create_project(tmp_path / "again", []))
    report = import_images(again, Path(done.out), labels=done.out)
    assert (report.imported, report.labelled, report.classes) == (LABELLED + TEST, LABELLED + TEST, CLASSES)


def test_coco_has_one_annotation_an_image_and_the_classes_in_order(store):
    whole = json.loads(as_coco(labelled_rows(store)))
    names = {row["id"]: row["name"] for row in whole["categories"]}
    assert list(names.values()) == list(CLASSES)
    files = {row["id"]: row["file_name"] for row in whole["images"]}
    assert {files[a["image_id"]]: names[a["category_id"]] for a in whole["annotations"]} == expected(store)


def test_fiftyone_reads_what_is_written_for_it(store, tmp_path):
    importers = pytest.importorskip("fiftyone.utils.data.importers")
    export_labels(store, tmp_path / "fiftyone", "fiftyone")
    reader = importers.FiftyOneImageClassificationDatasetImporter(dataset_dir=str(tmp_path / "fiftyone"))
    reader.setup()
    read = list(reader)
    assert {path: label.label for path, _, label in read} == expected(store)
    assert {label["split"] for _, _, label in read} == {"train", "test"}


def test_a_folder_gets_copies_and_the_images_stay(store, tmp_path):
    before = {path: Path(path).read_bytes() for path in expected(store)}
    export_labels(store, tmp_path / "out", "folder")
    copies = {path for path in (tmp_path / "out").rglob("[!.]*") if path.is_file()}
    assert len(copies) == len(before)
    for path, label in expected(store).items():
        (copy,) = [c for c in copies if c.name == Path(path).name]
        assert copy.parent.name == label and copy.read_bytes() == before[path] == Path(path).read_bytes()


def test_images_of_one_name_are_both_copied_and_missing_files_are_named(tmp_path):
    from PIL import Image

    for n, folder in enumerate(("a", "b", "c")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (9, 9), (80 * n, 0, 0)).save(tmp_path / folder / "1.png")
    store = memory_store(create_project(tmp_path / "project", ["x"]))
    table = tmp_path / "labels.csv"
    table.write_text("filepath,label\n" + "".join(f"{folder}/1.png,x\n" for folder in "abc"))
    import_images(store, table, labels=str(table))
    shutil.rmtree(tmp_path / "c")
    done = export_labels(store, tmp_path / "out", "folder")
    assert [path for path, _ in done.missing_files] == [str(tmp_path / "c" / "1.png")]
    contents = {path.read_bytes() for path in (tmp_path / "out" / "train" / "x").iterdir()}
    assert contents == {(tmp_path / folder / "1.png").read_bytes() for folder in "ab"}


@pytest.mark.parametrize("form", ["csv", "parquet", "coco", "folder", "fiftyone"])
def test_no_file_is_overwritten(store, tmp_path, form):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(ProjectError, match=r"exists already|holds other files"):
        export_labels(store, tmp_path / "out", form)
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "mine"]


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "..", "x" * 300])
def test_a_class_that_is_no_directory_name_is_refused_before_anything_is_copied(store, tmp_path, name):
    other = memory_store(create_project(tmp_path / "project", [name]))
    sample = store.catalog.samples()[0]
    other.catalog.add([sample], [])
    other.log.append([event(Kind.ACCEPTED, sample.sample_id, name, actor="ada")])
    with pytest.raises(ProjectError, match="cannot be the name of a directory"):
        export_labels(other, tmp_path / "below" / "out", "folder")
    assert list((tmp_path / "below").iterdir()) == []
    assert name in as_csv(labelled_rows(other)).decode()


def test_without_labels_it_says_what_to_do(tmp_path):
    with pytest.raises(ProjectError, match="label some images"):
        export_labels(memory_store(create_project(tmp_path / "new", ["a"])), tmp_path / "x.csv", "csv")


def test_a_job_writes_its_progress_and_its_result(store, tmp_path):
    from gradebook.pipelines.jobs import commands, launcher

    job = commands.start_export_labels(store.project, tmp_path / "out", "folder")
    until(lambda: launcher.job_state(job) is not launcher.JobState.RUNNING)
    assert commands.failure_message(job) == "" and launcher.job_state(job) is launcher.JobState.DONE
    progress = commands.progress(job)
    assert progress is not None and progress.done == progress.total == LABELLED + TEST
    assert (commands.result(job) or {})["labels"] == LABELLED + TEST
    assert commands.command_of(job)[:2] == ("export-labels", str(tmp_path / "out"))
    assert commands.newest(store.project, "export-labels") == job
    assert commands.newest(store.project, "import") is None


def test_a_failed_job_writes_its_error(store):
    from gradebook.pipelines.jobs import commands, launcher

    program = "print('Traceback'); print('gradebook: the disk is full'); print('bye'); raise SystemExit(2)"
    job = launcher.start(store.project, [sys.executable, "-c", program])
    until(lambda: launcher.job_state(job) is not launcher.JobState.RUNNING)
    assert commands.failure_message(job) == "the disk is full" and not commands.was_stopped(job)
    assert commands.command_of(job) == ()
