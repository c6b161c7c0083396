"""Exports that are one file: CSV, Parquet, COCO, Label Studio's JSON, CVAT's XML. Each function returns its content."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from gradebook.pipelines.export.label_rows import Label, Rows
from gradebook.storage.csv_cells import escape_cell

LOCAL_FILES = "/data/local-files/?d="  # Label Studio's address of a file on its server's disk
FROM_NAME, TO_NAME = "choice", "image"  # of the control and the object in Label Studio's configuration


def as_csv(rows: Rows) -> bytes:
    """Returns a CSV file, UTF-8."""
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(map(escape_cell, rows.header()))
    lines.writerows([_cell(value) for value in rows.cells(label)] for label in rows.labels)
    return text.getvalue().encode("utf-8")


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else escape_cell(value)


def as_parquet(rows: Rows) -> bytes:
    """Returns a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = rows.header()
    kinds = [pa.float64() if name.startswith("probability") else pa.string() for name in names]
    columns = list(zip(*(rows.cells(label) for label in rows.labels), strict=True)) or [()] * len(names)
    arrays = [pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)]
    content = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=names), content)
    return content.getvalue()


def as_coco(rows: Rows) -> bytes:
    """Returns a COCO file: categories count from 1 in the order of the classes; an image has its split."""
    names = _names(rows)
    number = {name: n for n, name in enumerate(names, start=1)}
    images, annotations = [], []
    for n, label in enumerate(rows.labels, start=1):
        size = {"width": label.width, "height": label.height}
        images.append({"id": n, "file_name": label.filepath, **size, "split": label.split})
        box = {"bbox": [0, 0, label.width, label.height], "area": label.width * label.height, "iscrowd": 0}
        annotations.append({"id": n, "image_id": n, "category_id": number[label.label], **box})
    categories = [{"id": n, "name": name} for name, n in number.items()]
    return _json({"images": images, "annotations": annotations, "categories": categories})


def as_label_studio(rows: Rows) -> bytes:
    """Returns tasks for Label Studio: labels are annotations, and predictions are pre-annotations.

    An annotation names nobody, because an import demands an account; who gave the label is among the task's data.
    The images are files of its server's disk (Local storage); paths are relative to LOCAL_FILES_DOCUMENT_ROOT.
    """
    return _json([_task(number, label) for number, label in enumerate(rows.labels, start=1)])


def label_studio_config(rows: Rows) -> str:
    """Returns the labelling configuration of a project of Label Studio that takes these tasks."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=TO_NAME, value="$image")
    choices = ElementTree.SubElement(view, "Choices", name=FROM_NAME, toName=TO_NAME, choice="single")
    for name in _names(rows):
        ElementTree.SubElement(choices, "Choice", value=name)
    return ElementTree.tostring(view, encoding="unicode")


def _task(number: int, label: Label) -> dict[str, Any]:
    result = {"id": label.sample_id[:10], "from_name": FROM_NAME, "to_name": TO_NAME, "type": "choices"}
    result["value"] = {"choices": [label.label]}  # type: ignore[assignment]
    data = {
        "image": LOCAL_FILES + quote(label.filepath.lstrip("/")),
        "sample_id": label.sample_id,
        "split": label.split,
    }
    if label.probability is None:
        return {"id": number, "data": data | {"labelled_by": label.by}, "annotations": [{"result": [result]}]}
    predicted = {"model_version": label.by.removeprefix("run:"), "score": label.probability, "result": [result]}
    return {"id": number, "data": data, "predictions": [predicted]}


def as_cvat(rows: Rows) -> bytes:
    """Returns an XML file of the kind "CVAT for images 1.1": a label is a tag, and a split a subset."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    kinds = ElementTree.SubElement(task, "labels")
    for name in _names(rows):
        kind = ElementTree.SubElement(kinds, "label")
        ElementTree.SubElement(kind, "name").text = name
        ElementTree.SubElement(kind, "type").text = "tag"
    for number, label in enumerate(rows.labels):
        size = {"width": str(label.width), "height": str(label.height)}
        about = {"id": str(number), "name": label.filepath, "subset": label.split, **size}
        ElementTree.SubElement(ElementTree.SubElement(root, "image", about), "tag", label=label.label, source="manual")
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _names(rows: Rows) -> Sequence[str]:
    """Returns the classes; a label may be newer than the list."""
    return list(dict.fromkeys([*rows.classes, *(label.label for label in rows.labels)]))


def _json(content: Any) -> bytes:
    return (json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8")
