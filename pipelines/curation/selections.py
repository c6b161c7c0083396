"""Selections: samples that were selected together, on the map or elsewhere, saved under an id for the page's address.

A selection is a file of the project, `selections/ID.json`. Its id is a hash of its content, so selecting the same
samples again in the same way only updates its time.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gradebook.storage.files import write_json
from gradebook.storage.project import Project, ProjectError

DIRECTORY = "selections"
ID = re.compile(r"[0-9a-f]{16}")
SAMPLE = re.compile(r"[0-9a-f]{32}")  # see `gradebook.storage.samples.sample_id`


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Samples in order, and how they were selected."""

    selection_id: str  # 16 hexadecimal digits
    sample_ids: tuple[str, ...]  # distinct
    why: str  # shown to users, such as: selected on the map
    at: datetime  # UTC, when they were last selected


def save_selection(project: Project, sample_ids: Sequence[str], why: str) -> str:
    """Saves samples as a selection and returns its id.

    Args:
        project: the project.
        sample_ids: in the order to review them; duplicates are dropped.
        why: how they were selected, shown to users, such as: selected on the map.

    Raises:
        ProjectError: there are no samples, or an id is not the id of a sample.
    """
    ids = list(dict.fromkeys(sample_ids))
    if not ids:
        raise ProjectError("no image is selected: select some first")
    wrong = next((sample_id for sample_id in ids if not SAMPLE.fullmatch(sample_id)), None)
    if wrong is not None:
        raise ProjectError(f"{wrong!r} is not the id of a sample: 32 digits of 0-9 and a-f")
    selection_id = _hash(ids, why)
    directory = project.root / DIRECTORY
    directory.mkdir(exist_ok=True)
    data = {"why": why, "at": datetime.now(UTC).isoformat(), "sample_ids": ids}
    path = _path(project, selection_id)
    write_json(path, data)
    return selection_id


def read_selection(project: Project, selection_id: str) -> Selection:
    """Returns a saved selection.

    Raises:
        ProjectError: there is no selection with this id, or its file is corrupt.
    """
    if not ID.fullmatch(selection_id):
        raise ProjectError(f"{selection_id!r} is not the id of a selection: select the images again")
    path = _path(project, selection_id)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        ids, why, at = tuple(data["sample_ids"]), data["why"], datetime.fromisoformat(data["at"])
    except FileNotFoundError:
        raise ProjectError(f"this project has no selection {selection_id}: select the images again") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProjectError(f"{path} cannot be read ({error}): select the images again") from error
    if _hash(ids, why) != selection_id:
        raise ProjectError(f"{path} is corrupt: select the images again")
    return Selection(selection_id=selection_id, sample_ids=ids, why=why, at=at)


def _path(project: Project, selection_id: str) -> Path:
    return project.root / DIRECTORY / f"{selection_id}.json"


def _hash(sample_ids: Sequence[str], why: str) -> str:
    content = json.dumps([why, list(sample_ids)], ensure_ascii=False).encode("utf-8")
    return hashlib.blake2b(content, digest_size=8).hexdigest()
