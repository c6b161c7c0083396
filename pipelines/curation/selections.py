"""Selections: samples that somebody chose together, on the map or elsewhere, saved under an id that a URL can name.

A selection is a file of the project, `selections/ID.json`, whose id is a hash of its content: the same samples chosen
for the same reason are one selection. Choosing them again only renews its time.
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
    """Samples in an order, and why they are together."""

    selection_id: str  # 16 hexadecimal digits
    sample_ids: tuple[str, ...]  # each once
    why: str  # for people, such as: chosen on the map
    at: datetime  # UTC, when somebody chose them last


def save_selection(project: Project, sample_ids: Sequence[str], why: str) -> str:
    """Saves samples as a selection and returns its id.

    Args:
        project: whose samples they are.
        sample_ids: in the order to look at them; repeats count once.
        why: what they have in common, to people, such as: chosen on the map.

    Raises:
        ProjectError: there are none, or one has no sample's id.
    """
    ids = list(dict.fromkeys(sample_ids))
    if not ids:
        raise ProjectError("no image is chosen: choose some first")
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
        ProjectError: there is none of this id, or its file is corrupt.
    """
    if not ID.fullmatch(selection_id):
        raise ProjectError(f"{selection_id!r} is not the id of a selection: choose the images again")
    path = _path(project, selection_id)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        ids, why, at = tuple(data["sample_ids"]), data["why"], datetime.fromisoformat(data["at"])
    except FileNotFoundError:
        raise ProjectError(f"this project has no selection {selection_id}: choose the images again") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProjectError(f"{path} cannot be read ({error}): choose the images again") from error
    if _hash(ids, why) != selection_id:
        raise ProjectError(f"{path} does not hold what was chosen: choose the images again")
    return Selection(selection_id=selection_id, sample_ids=ids, why=why, at=at)


def _path(project: Project, selection_id: str) -> Path:
    return project.root / DIRECTORY / f"{selection_id}.json"


def _hash(sample_ids: Sequence[str], why: str) -> str:
    content = json.dumps([why, list(sample_ids)], ensure_ascii=False).encode("utf-8")
    return hashlib.blake2b(content, digest_size=8).hexdigest()
