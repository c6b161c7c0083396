"""Data sets of other programs are imported with their labels, splits and annotators."""

import json
from pathlib import Path

import pytest
from PIL import Image

from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.importing.sources import opened_source
from gradebook.storage.events import decisions, replay
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Split
from gradebook.storage.store import Store, memory_store
from tests.pipelines.importing.folders import csv, labels, put


def imported(store: Store, source: Path, given: str = "none"):
    found, chosen = opened_source(store.project.root, source, given)
    return import_images(store, found, labels=chosen)


def people(store: Store) -> dict[str, str]:
    names = {s.sample_id: Path(s.filepath).name for s in store.catalog.samples()}
    return {names[i]: e.actor for i, e in decisions(store.log.read()).items()}


def test_images(store: Store) -> set[str]:
    return {Path(s.filepath).name for s in store.catalog.samples(Split.TEST)}


test_images.__test__ = False


@pytest.mark.parametrize(
    "header", ["image,class", "file_name,label", "filename,category", "path,label_name", "IMG,Class_Name"]
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_tables_of_each_common_header(quick, images, header, suffix):
    for n in range(2):
        put(images / f"{n}.png", n)
    names = [*header.split(","), "subset", "annotator"]
    rows = [
        dict(zip(names, row, strict=True)) for row in (("0.png", "cat", "train", "ann"), ("1.png", "dog", "val", ""))
    ]
    path = images / f"table{suffix}"
    if suffix == ".csv":
        csv(path, ",".join(names), *(",".join(row.values()) for row in rows))
    elif suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    else:
        import pandas as pd

        pd.DataFrame(rows).to_parquet(path)
    assert imported(quick, path, str(path)).label_problems == 0
    assert labels(quick) == {"0.png": "cat", "1.png": "dog"}
    assert people(quick) == {"0.png": "ann", "1.png": "import"}
    assert test_images(quick) == {"1.png"}


def task(address: str, *choices: str, by: object = 1, cancelled: bool = False) -> dict:
    result = {"from_name": "c", "to_name": "image", "type": "choices", "value": {"choices": list(choices)}}
    annotation = {"completed_by": by, "was_cancelled": cancelled, "result": [result] if choices else []}
    return {"id": 1, "data": {"image": address}, "annotations": [annotation], "predictions": [{"result": [result]}]}


@pytest.mark.parametrize("by_labels", [True, False])
def test_tasks_of_label_studio(quick, images, by_labels):
    for n in range(6):
        put(images / "birds" / f"{n} x.png", n)
    tasks = [
        task("/data/local-files/?d=home/ann/birds/0%20x.png", "crow", by={"email": "ann@example.org", "id": 7}),
        task("/data/upload/3/1a2b3c4d-1%20x.png", "owl", by=2),
        task("https://example.org/birds/2%20x.png?size=3", "owl"),
        task("s3://bucket/birds/3 x.png"),
        task("/data/upload/3/1a2b3c4d-4 x.png", "crow", cancelled=True),
        task("birds/5 x.png", "crow", "owl"),
    ]
    export = images / "birds" / "export.json"
    export.write_text(json.dumps(tasks))
    report = imported(quick, images / "birds", str(export)) if by_labels else imported(quick, export)
    assert (report.imported, report.broken, report.conflicts) == (6, 0, 1), "two choices contradict each other"
    assert labels(quick) == {"0 x.png": "crow", "1 x.png": "owl", "2 x.png": "owl"}
    assert people(quick)["0 x.png"] == "ann@example.org" and people(quick)["1 x.png"] == "annotator 2"


def test_the_short_form_of_label_studio(quick, images):
    for n in range(3):
        put(images / f"{n}.png", n)
    rows = [
        {"image": "/data/upload/1/00000000-0.png", "choice": "crow", "annotator": 1},
        {"image": "/data/upload/1/00000000-1.png", "choice": {"choices": ["owl"]}, "annotator": "ann"},
        {"image": "/data/upload/1/00000000-2.png"},
    ]
    (images / "min.json").write_text(json.dumps(rows))
    assert imported(quick, images / "min.json").imported == 3
    assert labels(quick) == {"0.png": "crow", "1.png": "owl"}
    assert people(quick)["1.png"] == "ann"


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><assignee><username>ann</username></assignee></task></meta>
<image id="0" name="birds/0.png" subset="Train" width="20" height="12"><tag label="crow" source="manual"></tag></image>
<image id="1" name="birds/1.png" subset="Validation" width="20" height="12"><tag label="owl" source="manual"/>
<box label="beak" xtl="1" ytl="1" xbr="5" ybr="5"/></image>
<image id="2" name="birds/2.png" width="20" height="12"></image></annotations>"""


@pytest.mark.parametrize("folder", ["birds", "images/birds", "."])
def test_tags_of_cvat(quick, images, folder):
    for n in range(3):
        put(images / folder / f"{n}.png", n)
    (images / "annotations.xml").write_text(CVAT)
    assert imported(quick, images / "annotations.xml").imported == 3
    assert labels(quick) == {"0.png": "crow", "1.png": "owl"}
    assert people(quick) == {"0.png": "ann", "1.png": "ann"}
    assert test_images(quick) == {"1.png"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.xml", "<annotations", "is not an XML file"),
        ("a.xml", "<html/>", "is not a file of CVAT"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "bbbb">]><annotations>&b;</annotations>', "declares a document type"),
        ("a.json", '[{"id": 1, "data": {"text": "no image"}}]', "has no image"),
        ("a.json", '[{"data": {"image": "1.png"}, "annotations": [3]}]', "cannot be read"),
        ("a.jsonl", "{", "is not a file of JSON lines"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(quick, images, name, content, says):
    put(images / "1.png")
    (images / name).write_text(content)
    with pytest.raises(ProjectError, match=says):
        imported(quick, images / name, str(images / name) if name.endswith("jsonl") else "none")
    assert quick.catalog.samples() == []


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_the_folders_that_yolo_classifies(quick, images, held_out):
    for n, name in enumerate(["train/crow/0.png", "train/owl/1.png", f"{held_out}/owl/2.png"]):
        put(images / name, n)
    imported(quick, images, "folders")
    assert labels(quick) == {"0.png": "crow", "1.png": "owl", "2.png": "owl"}
    assert test_images(quick) == {"2.png"}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_an_image_folder_of_hugging_face_with_metadata(quick, images, suffix):
    for n, split in enumerate(["train", "train", "test"]):
        put(images / split / f"{n}.png", n)
    for split, rows in {"train": [("0.png", "crow"), ("1.png", "owl")], "test": [("2.png", "owl")]}.items():
        lines = ["file_name,label", *map(",".join, rows)]
        if suffix == "jsonl":
            lines = [json.dumps({"file_name": name, "label": label}) for name, label in rows]
        (images / split / f"metadata.{suffix}").write_text("\n".join(lines) + "\n")
    imported(quick, images)
    assert labels(quick) == {"0.png": "crow", "1.png": "owl", "2.png": "owl"}
    assert test_images(quick) == {"2.png"}


def test_another_program_s_metadata_beside_images_is_left_alone(quick, images):
    put(images / "0.png")
    csv(images / "metadata.csv", "camera,iso", "x,100")
    assert imported(quick, images).imported == 1


def data_set(images: Path):
    datasets = pytest.importorskip("datasets")
    for n in range(3):
        put(images / f"{n}.png", n)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["crow", "owl"])})

    def part(*rows):
        columns = {"image": [str(images / f"{n}.png") for n, _ in rows], "label": [k for _, k in rows]}
        return datasets.Dataset.from_dict(columns, features=features)

    return datasets.DatasetDict({"train": part((0, 0), (1, -1)), "test": part((2, 1))})


def pixels(store: Store) -> list[bytes]:
    return sorted(Image.open(s.filepath).convert("RGB").tobytes() for s in store.catalog.samples())


@pytest.mark.parametrize("form", ["on disk", "one split on disk", "parquet", "folder of parquet"])
def test_data_sets_that_hugging_face_saved(quick, tmp_path, form):
    images, saved = tmp_path / "pictures", tmp_path / "saved"
    whole = data_set(images).map(lambda row: row)  # the images' bytes go into the tables
    embedded = {name: part.with_format("arrow").map(_embed, batched=True) for name, part in whole.items()}
    if form == "on disk":
        type(whole)({name: part.with_format(None) for name, part in embedded.items()}).save_to_disk(str(saved))
    elif form == "one split on disk":
        embedded["train"].with_format(None).save_to_disk(str(saved))
    else:
        saved = saved / "train.parquet" if form == "parquet" else saved
        (tmp_path / "saved" / "data").mkdir(parents=True)
        embedded["train"].to_parquet(
            str(saved if form == "parquet" else saved / "data" / "train-00000-of-00001.parquet")
        )
        if form == "folder of parquet":
            embedded["test"].to_parquet(str(saved / "data" / "test-00000-of-00001.parquet"))
    report = imported(quick, saved)
    has_test = form in ("on disk", "folder of parquet")
    assert (report.imported, report.labelled, report.test_images) == ((3, 2, 1) if has_test else (2, 1, 0))
    expected = [Image.open(images / f"{n}.png").convert("RGB").tobytes() for n in range(report.imported)]
    assert pixels(quick) == sorted(expected)
    given = sorted(replay(quick.log.read()).values())  # the files of both splits are called 0000001.png
    assert given == (["crow", "owl"] if has_test else ["crow"])


def _embed(table):
    from datasets.table import embed_table_storage

    return embed_table_storage(table)


def test_a_table_with_bytes_of_images_and_names_of_classes(quick, images):
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = [put(images / f"{n}.png", n).read_bytes() for n in range(2)]
    pq.write_table(pa.table({"image": content, "label": [0, 1], "label_name": ["crow", "owl"]}), images / "t.parquet")
    assert imported(quick, images / "t.parquet").imported == 2
    assert sorted(labels(quick).values()) == ["crow", "owl"]
    again = memory_store(create_project(quick.project.root.parent / "again", []))
    assert imported(again, images / "t.parquet").labelled == 2
