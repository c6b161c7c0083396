"""A zip or a FiftyOne dataset becomes something to import; nothing is written outside the project."""

import io
import json
import re
import stat
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from gradebook.pipelines.cli.main import main
from gradebook.pipelines.export.labels import export_labels
from gradebook.pipelines.importing import zip_archive as unpacking
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.importing.sources import opened_source
from gradebook.pipelines.importing.zip_archive import unpack
from gradebook.pipelines.jobs import commands, launcher
from gradebook.pipelines.process import job_files
from gradebook.storage.events import replay
from gradebook.storage.install_advice import install_command
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, memory_store, open_store
from tests.polling import until


@pytest.fixture
def store(tmp_path) -> Store:
    return memory_store(create_project(tmp_path / "project", []))


def picture(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (12, 12), (shade, 0, 0)).save(content, "PNG")
    return content.getvalue()


def zipped(path: Path, members: dict[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_zip_is_unpacked_once_and_imported_with_its_folders_as_labels(store, tmp_path):
    members = {"b/crow/1.png": picture(10), "b/owl/1.png": picture(200), "__MACOSX/b/1.png": b"x", "b/run.sh": b"x"}
    archive = zipped(tmp_path / "b.zip", members)
    reports = []
    folder, labels = opened_source(store.project.root, archive, "folders", lambda done, total: reports.append(done))
    assert everything(folder) == {"b/crow/1.png", "b/owl/1.png", ".from.json"} and reports == [2]
    report = import_images(store, folder, labels=labels)
    assert (report.imported, report.labelled, report.classes) == (2, 2, ("crow", "owl"))
    assert opened_source(store.project.root, archive, "folders")[0] == folder
    zipped(archive, {"3.png": picture(3)})
    assert everything(opened_source(store.project.root, archive, "none")[0]) == {"3.png", ".from.json"}
    assert {path.name for path in folder.parent.iterdir()} == {"b", "b-2"}, "what was unpacked before stays"


def test_labels_may_come_from_a_table_in_the_zip(store, tmp_path):
    table = b"filepath,label\nimages/1.png,owl\n"
    archive = zipped(tmp_path / "b.zip", {"images/1.png": picture(10), "labels.csv": table})
    folder, labels = opened_source(store.project.root, archive, "labels.csv")
    import_images(store, folder, labels=labels)
    assert list(replay(store.log.read()).values()) == ["owl"]


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("a.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize("name", ["../a.png", "/tmp/a.png", "b/../../a.png", "..\\a.png", link()])
def test_an_archive_with_paths_outside_its_folder_is_refused(tmp_path, name):
    root = create_project(tmp_path / "project", []).root
    before = everything(tmp_path)
    archive = zipped(tmp_path / "bad.zip", {"good.png": picture(1), name: picture(2)})
    with pytest.raises(ProjectError, match="make it again"):
        unpack(archive, root)
    assert everything(tmp_path) == before | {"bad.zip"}


def test_an_archive_that_is_too_large_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    root = create_project(tmp_path / "project", []).root
    archive = zipped(tmp_path / "b.zip", {"1.png": bytes(5_000_000)})
    assert archive.stat().st_size < 10_000
    monkeypatch.setattr(unpacking, "MAX_BYTES", 4_000_000)
    with pytest.raises(ProjectError, match="unpack it yourself"):
        unpack(archive, root)
    assert list((root / "unpacked").iterdir()) == []


def test_an_archive_that_lies_about_its_size_is_not_unpacked_beyond_it(tmp_path, monkeypatch):
    root = create_project(tmp_path / "project", []).root
    archive = zipped(tmp_path / "b.zip", {"1.png": bytes(5_000_000)})
    content = archive.read_bytes()
    archive.write_bytes(content.replace((5_000_000).to_bytes(4, "little"), (50).to_bytes(4, "little")))
    with pytest.raises(ProjectError, match="not a zip file"):
        unpack(archive, root)
    assert list((root / "unpacked").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"no zip"])
def test_a_file_that_is_no_zip_is_a_one_line_error(tmp_path, content):
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(ProjectError, match="not a zip file"):
        unpack(tmp_path / "b.zip", create_project(tmp_path / "project", []).root)


def test_a_zip_without_images_is_a_one_line_error(tmp_path):
    with pytest.raises(ProjectError, match="no images"):
        unpack(zipped(tmp_path / "b.zip", {"a.txt": b""}), create_project(tmp_path / "project", []).root)


def test_a_fiftyone_dataset_is_imported_with_its_labels(store, tmp_path):
    dataset = tmp_path / "dataset"
    (dataset / "data" / "sub").mkdir(parents=True)
    for n, name in enumerate(("1", "sub/2", "3")):
        (dataset / "data" / f"{name}.png").write_bytes(picture(60 * n))
    table = {"classes": ["crow", "owl"], "labels": {"1": 1, "sub/2": "crow", "3": None}}
    (dataset / "labels.json").write_text(json.dumps(table))
    folder, labels = opened_source(store.project.root, dataset, "none")
    report = import_images(store, folder, labels=labels)
    assert (report.imported, report.labelled, report.label_problems) == (3, 2, 1)
    assert sorted(replay(store.log.read()).values()) == ["crow", "owl"]
    export_labels(store, tmp_path / "out", "fiftyone")
    again = memory_store(create_project(tmp_path / "again", []))
    folder, labels = opened_source(again.project.root, tmp_path / "out", "none")
    import_images(again, folder, labels=labels)
    assert replay(again.log.read()) == {k: v for k, v in replay(store.log.read()).items() if v}


def test_a_folder_that_merely_has_a_labels_json_is_a_folder(store, tmp_path):
    (tmp_path / "labels.json").write_text("[1, 2]")
    assert opened_source(store.project.root, tmp_path, "folders") == (tmp_path, "folders")


@pytest.mark.slow
def test_a_zip_is_imported_as_a_job(tmp_path):
    project = create_project(tmp_path / "project", [])
    archive = zipped(tmp_path / "b.zip", {"crow/1.png": picture(10), "owl/1.png": picture(200)})
    job = commands.start_import(project, archive, labels="folders", split="test")
    until(lambda: launcher.job_state(job) is not launcher.JobState.RUNNING)
    assert commands.failure_message(job) == "" and launcher.job_state(job) is launcher.JobState.DONE
    answer = commands.result(job)
    assert answer is not None and (answer["imported"], answer["labelled"]) == (2, 2)
    assert {sample.split for sample in open_store(project.root).catalog.samples()} == {Split.TEST}


def test_a_job_reports_its_stage_and_progress(tmp_path, monkeypatch):
    project = create_project(tmp_path / "project", [])
    archive = zipped(tmp_path / "b.zip", {"crow/1.png": picture(10), "owl/1.png": picture(200)})
    monkeypatch.setenv(job_files.JOB, str(tmp_path))
    written = []
    monkeypatch.setattr(
        job_files, "write_json", lambda path, value: path.name == job_files.PROGRESS and written.append(value)
    )
    assert main(["import", str(project.root), str(archive), "--labels", "folders"]) == 0
    counted = ["unpack", "import"]
    stages = ["Opening the project", "unpack", "Looking for images", "import", "Comparing what was found"]
    assert [*dict.fromkeys(one["what"] for one in written)] == stages
    far = {one["what"]: (one["done"], one["total"]) for one in written}
    assert [far[what] for what in stages] == [(2, 2) if what in counted else (0, 0) for what in stages]


@pytest.fixture
def named(tmp_path, mongodb) -> Iterator[str]:
    """The name of a dataset that FiftyOne keeps: three images, one of them without a label."""
    import fiftyone as fo

    dataset = fo.Dataset(f"birds {tmp_path.name}/of mine")
    for n, label in enumerate(("crow", "owl", None)):
        path = tmp_path / "elsewhere" / f"{n}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(60 * n))
        dataset.add_sample(fo.Sample(filepath=str(path), ground_truth=label and fo.Classification(label=label)))
    yield dataset.name
    dataset.delete()


@pytest.mark.slow
def test_a_dataset_is_imported_by_its_name_with_its_labels(store, named):
    import fiftyone as fo

    source, labels = opened_source(store.project.root, Path(f"fiftyone:{named}"), "none")
    report = import_images(store, source, labels=labels)
    assert (report.imported, report.labelled, report.label_problems, report.classes) == (3, 2, 0, ("crow", "owl"))
    truth = dict(zip(fo.load_dataset(named).values("filepath"), ("crow", "owl", None), strict=True))
    imported = replay(store.log.read())
    assert {sample.filepath: imported.get(sample.sample_id) for sample in store.catalog.samples()} == truth


@pytest.mark.slow
def test_an_ambiguous_label_field_has_to_be_named(store, named):
    import fiftyone as fo

    dataset = fo.load_dataset(named)
    dataset.rename_sample_field("ground_truth", "mine")
    dataset.set_values("theirs", [fo.Classification(label="owl")] * 3)
    source = Path(f"fiftyone:{named}")
    with pytest.raises(ProjectError, match="say which with --labels, of mine, theirs"):
        opened_source(store.project.root, source, "none")
    with pytest.raises(ProjectError, match="no classifications ours: it has mine, theirs"):
        opened_source(store.project.root, source, "ours")
    images, labels = opened_source(store.project.root, source, "theirs")
    assert import_images(store, images, labels=labels).labelled == 3
    with pytest.raises(ProjectError, match="no dataset nothing, it has"):
        opened_source(store.project.root, Path("fiftyone:nothing"), "none")


def test_without_a_database_a_dataset_is_a_one_line_error(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(ProjectError, match=re.escape(install_command("mongodb"))):
        opened_source(store.project.root, Path("fiftyone:birds"), "none")
