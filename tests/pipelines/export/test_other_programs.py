"""What is exported is read by the other program's own reader, and by an import, with labels, splits and annotators."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from gradebook.pipelines.export.label_files import label_studio_config
from gradebook.pipelines.export.label_rows import labelled_rows
from gradebook.pipelines.export.labels import FORMS_OF, export_labels
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.importing.sources import opened_source
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import find_run
from gradebook.storage.events import Kind, event, replay
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, memory_store
from tests.pipelines.projects import CLASSES, LABELLED, TEST, TRAIN, make_project


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Labels of an import, of ada and of bob, with a rejected image."""
    made = make_project(tmp_path_factory.mktemp("project"))
    samples = made.catalog.samples(Split.TRAIN)
    made.log.append(
        [
            event(Kind.RELABELLED, samples[0].sample_id, "owl", actor="ada"),
            event(Kind.RELABELLED, samples[1].sample_id, "heron", actor="bob"),
            event(Kind.REJECTED, samples[2].sample_id, actor="ada"),
        ]
    )
    return made


def labels_by_id(store: Store) -> dict[str, str]:
    return replay(store.log.read())


def again(source: Path, tmp_path: Path) -> Store:
    other = memory_store(create_project(tmp_path / "again", []))
    found, given = opened_source(
        other.project.root, source, str(source) if source.suffix in (".csv", ".parquet") else "none"
    )
    import_images(other, found, labels=given)
    return other


@pytest.mark.parametrize(
    ("form", "name", "people"),
    [
        ("csv", "labels.csv", True),
        ("parquet", "labels.parquet", True),
        ("coco", "labels.json", False),
        ("label-studio", "tasks.json", True),
        ("cvat", "labels.xml", False),
        ("fiftyone", "fiftyone", False),
        ("huggingface", "hf", False),
    ],
)
def test_a_round_trip_keeps_labels_splits_and_annotators(store, tmp_path, form, name, people):
    export_labels(store, tmp_path / name, form)
    other = again(tmp_path / name, tmp_path)
    assert labels_by_id(other) == labels_by_id(store)
    assert {s.sample_id for s in other.catalog.samples(Split.TEST)} == {
        s.sample_id for s in store.catalog.samples(Split.TEST)
    }
    if people:
        given = [row.by for row in labelled_rows(other).labels]
        assert sorted(set(given)) == ["ada", "bob", "import"]


@pytest.mark.parametrize("form", ["csv", "parquet", "coco", "label-studio", "cvat"])
def test_relative_paths_are_found_from_the_file(store, tmp_path, form):
    suffix = {"csv": "csv", "parquet": "parquet", "cvat": "xml"}.get(form, "json")
    folder = Path(store.catalog.samples()[0].filepath).parents[1]
    out = folder / f"relative-{form}" / f"out.{suffix}"
    export_labels(store, out, form, relative=True)
    assert str(folder) not in out.read_bytes().decode("utf-8", "replace")
    assert labels_by_id(again(out, tmp_path)) == labels_by_id(store)


def test_pycocotools_reads_coco(store, tmp_path):
    pycocotools = pytest.importorskip("pycocotools.coco")
    export_labels(store, tmp_path / "coco.json", "coco")
    read = pycocotools.COCO(str(tmp_path / "coco.json"))
    names = {row["id"]: row["name"] for row in read.loadCats(read.getCatIds())}
    files = {read.imgs[a["image_id"]]["file_name"]: names[a["category_id"]] for a in read.anns.values()}
    assert files == {row.filepath: row.label for row in labelled_rows(store).labels}


def test_torchvision_reads_the_folder(store, tmp_path):
    from torchvision.datasets import ImageFolder

    export_labels(store, tmp_path / "folder", "folder")
    train, test = (ImageFolder(tmp_path / "folder" / split) for split in ("train", "test"))
    assert (len(train), len(test)) == (LABELLED - 1, TEST)
    assert train.classes == sorted(CLASSES)


@pytest.mark.parametrize("form", ["huggingface", "folder"])
def test_hugging_face_reads_its_own_forms(store, tmp_path, form, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    export_labels(store, tmp_path / "out", form)
    if form == "huggingface":
        read = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    else:
        read = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(part) for name, part in read.items()} == {"train": LABELLED - 1, "test": TEST}
    assert sorted(read["train"].features["label"].names) == sorted(CLASSES)
    row = read["test"][0]
    assert row["image"].size == (32, 32)
    if form == "huggingface":
        expected = labels_by_id(store)
        given = {r["sample_id"]: read["train"].features["label"].int2str(r["label"]) for r in read["train"]}
        assert given == {i: expected[i] for i in given}


def finished(store: Store) -> None:
    """Gives the project a run with predictions for its unlabelled images."""
    from gradebook.pipelines.runs import PREDICTIONS

    path = store.project.runs / "one"
    path.mkdir(parents=True, exist_ok=True)
    ids = [s.sample_id for s in store.catalog.samples(Split.TRAIN)[LABELLED:]]
    rows = np.random.default_rng(0).dirichlet(np.ones(len(CLASSES)), len(ids))
    table = pd.DataFrame({"sample_id": ids, "teacher": [None] * len(ids), "student": rows.tolist()})
    import pyarrow as pa

    given = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(given.replace_schema_metadata({b"classes": json.dumps(list(CLASSES)).encode()}), path / PREDICTIONS)
    (path / "config.json").write_text("{}")
    write_status(path, status_now(State.FINISHED, pid=0, step=1, steps=1))


@pytest.mark.parametrize("form", FORMS_OF["predictions"])
def test_predictions_of_the_images_without_a_label(store, tmp_path, form):
    finished(store)
    run = find_run(store.project, None)
    done = export_labels(store, tmp_path / "out", form, what="predictions", run=run)
    assert done.labels == TRAIN - LABELLED
    if form == "label-studio":
        tasks = json.loads((tmp_path / "out").read_text())
        assert all(task["predictions"][0]["model_version"] == "one" for task in tasks)
        return
    if form == "fiftyone":
        importers = pytest.importorskip("fiftyone.utils.data.importers")
        reader = importers.FiftyOneImageClassificationDatasetImporter(dataset_dir=done.out)
        reader.setup()
        read = [label for _, _, label in reader]
        assert len(read) == done.labels
        for one in read:
            given = one["probabilities"]
            assert (one.label, one.confidence) == max(given.items(), key=lambda item: item[1])
            assert list(given) == list(CLASSES) and sum(given.values()) == pytest.approx(1)
        return
    table = pd.read_csv(done.out) if form == "csv" else pd.read_parquet(done.out)
    probabilities = table[[f"probability of {name}" for name in CLASSES]]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    best = probabilities.to_numpy().argmax(1)
    assert table["label"].tolist() == [CLASSES[k] for k in best]
    np.testing.assert_allclose(table["probability"], probabilities.max(axis=1))
    assert not set(table["sample_id"]) & labels_by_id(store).keys()


def test_names_with_signs_of_addresses_and_markup_survive(tmp_path):
    from tests.pipelines.importing.folders import put

    folder = tmp_path / "a & b #1"
    made = memory_store(create_project(tmp_path / "project", []))
    names = ["50 %25 <x>.png", "d=1&e=2.png", "ä?.png"]
    for n, name in enumerate(names):
        put(folder / 'owl & "crow"' / name, n)
    import_images(made, folder, labels="folders")
    for form, name in (("label-studio", "t.json"), ("cvat", "t.xml"), ("coco", "c.json"), ("csv", "t.csv")):
        export_labels(made, tmp_path / form / name, form)
        other = again(tmp_path / form / name, tmp_path / form)
        assert labels_by_id(other) == labels_by_id(made), form


def test_rejected_images_are_listed(store, tmp_path):
    export_labels(store, tmp_path / "rejected.csv", "csv", what="rejected")
    with (tmp_path / "rejected.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["label"] == "rejected"
    assert (row["sample_id"], row["by"]) == (store.catalog.samples()[2].sample_id, "ada")


def test_what_a_format_cannot_hold_is_refused(store, tmp_path):
    with pytest.raises(ProjectError, match="predictions cannot be written as coco: choose one of csv, parquet"):
        export_labels(store, tmp_path / "out", "coco", what="predictions")
    with pytest.raises(ProjectError, match="leave --relative out"):
        export_labels(store, tmp_path / "out", "folder", relative=True)
    with pytest.raises(ProjectError, match="has no run to predict with"):
        export_labels(store, tmp_path / "out", "csv", what="predictions")
    assert os.listdir(tmp_path) == []


def test_label_studio_takes_the_tasks(store, tmp_path):
    """By its own package, which brings many others: pip install label-studio-sdk."""
    interface = pytest.importorskip("label_studio_sdk.label_interface").LabelInterface
    export_labels(store, tmp_path / "tasks.json", "label-studio")
    config = interface(label_studio_config(labelled_rows(store)))
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert all(config.validate_annotation(task["annotations"][0]) for task in tasks)
    assert not config.validate_annotation({"result": [{**tasks[0]["annotations"][0]["result"][0], "from_name": "x"}]})
    finished(store)
    run = find_run(store.project, None)
    export_labels(store, tmp_path / "predicted.json", "label-studio", what="predictions", run=run)
    predicted = json.loads((tmp_path / "predicted.json").read_text())
    assert all(config.validate_prediction(task["predictions"][0]) for task in predicted)
    assert all(config.validate_task({"data": task["data"]}) for task in tasks + predicted)
