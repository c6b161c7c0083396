"""Reads image classes from Label Studio's JSON export: tasks with choices, or its shorter form JSON-MIN."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gradebook.pipelines.importing.source_tables import SourceRow, locate
from gradebook.storage.images import is_image
from gradebook.storage.project import ProjectError

UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # before the name of an uploaded file
SHORT_LABELS = ("choice", "choices", "label", "class")  # keys of JSON-MIN, the first that a row has
LOCAL_FILES = "local-files"  # in the address of a file of the server's disk, which its parameter d names


def is_label_studio(content: Any) -> bool:
    """Returns whether the content of a JSON file is an export of Label Studio."""
    return isinstance(content, list) and bool(content) and all(isinstance(row, dict) for row in content)


def read_rows(source: Path, content: Sequence[dict[str, Any]], folders: Sequence[Path]) -> Iterator[SourceRow]:
    """Yields the images of an export with their labels; skipped tasks have none.

    Args:
        source: the file, for messages.
        content: of the file.
        folders: where the images may be.

    Raises:
        ProjectError: a task has no image, or its choices are not a list of names.
    """
    for number, task in enumerate(content, start=1):
        data = task["data"] if isinstance(task.get("data"), dict) else task
        address = data.get("image") or next(
            (v for v in data.values() if isinstance(v, str) and is_image(Path(v))), None
        )
        if not isinstance(address, str) or not address:
            raise ProjectError(f"task {number} of {source} has no image: export tasks whose data have an image")
        filepath, split = locate(_names(address), folders), str(data.get("split") or "")
        by_data = str(data.get("labelled_by") or "")  # where `gradebook export-labels` writes it
        try:
            labels = list(_labels(task))
        except (TypeError, AttributeError, KeyError) as error:
            raise ProjectError(
                f"task {number} of {source} cannot be read ({type(error).__name__}: {error}): export it as JSON"
            ) from error
        for label, by in labels or [("", "")]:
            yield SourceRow(filepath, label, split, by or (by_data if label else ""))


def _labels(task: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the labels of a task, and who gave each; model predictions are none."""
    if "data" not in task:
        value = next((task[name] for name in SHORT_LABELS if task.get(name)), None)
        names = value["choices"] if isinstance(value, dict) else [value] if isinstance(value, str) else value or []
        yield from ((str(name), _person(task.get("annotator"))) for name in names)
    for annotation in task.get("annotations") or task.get("completions") or []:
        if not annotation.get("was_cancelled"):
            for result in annotation.get("result") or []:
                if result.get("type") == "choices":
                    by = _person(annotation.get("completed_by"))
                    yield from ((str(name), by) for name in result["value"]["choices"])


def _person(value: Any) -> str:
    """Returns the name of an annotator: the account's address, or its number."""
    if isinstance(value, dict):
        return str(value.get("email") or value.get("username") or _person(value.get("id")))
    return f"annotator {value}" if isinstance(value, int) else str(value or "")


def _names(address: str) -> list[str]:
    """Returns the names that an address may have on this disk."""
    parts = urlsplit(address)
    path = unquote(parts.path)
    if LOCAL_FILES in path and (given := parse_qs(parts.query).get("d")):
        path = given[0]
    folder, _, name = path.rpartition("/")
    plain = UPLOADED.sub("", name)
    return [path] if plain == name else [path, f"{folder}/{plain}"]
