"""Samples as FiftyOne's App knows them, by ids of its own, and the way from our ids to the App's addresses."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradebook.storage.project import ProjectError

SHOWN = "from gradebook"  # begins the names of saved views that hold samples which somebody opened from the app
KEPT = 12  # such views
MOST = 100_000  # samples of a view: MongoDB keeps it in one document of 16 MB at most
_placing = threading.Lock()  # of two who save a view at once, one would take the other's away
FIELDS = {  # attribute of `FiftyOneSample` -> path in the dataset
    "id": "id",
    "sample_id": "gradebook_id",
    "filepath": "filepath",
    "split": "split",
    "label": "label.label",
    "decision": "decision",
    "teacher": "teacher.label",
    "confidence": "teacher.confidence",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FiftyOneSample:
    """What the App shows of one sample."""

    id: str  # in FiftyOne
    sample_id: str
    filepath: str
    split: str
    label: str | None
    decision: str | None  # the event that decided the label
    teacher: str | None  # the pseudo-label: what the teacher said last
    confidence: float | None  # of that


def read_samples(dataset: Any, ids: Sequence[str]) -> list[FiftyOneSample]:
    """Returns what a project's dataset shows of the samples with these ids in FiftyOne, guests left out."""
    columns = dataset.select(list(ids)).exists("gradebook_id").values(list(FIELDS.values()))
    return [FiftyOneSample(**dict(zip(FIELDS, row, strict=True))) for row in zip(*columns, strict=True)]


def fiftyone_ids(dataset: Any, sample_ids: Sequence[str]) -> list[str]:
    """Returns the ids in FiftyOne of these samples in their order, those left out that the dataset lacks."""
    found = _found(dataset, sample_ids)
    return [found[sample_id] for sample_id in sample_ids if sample_id in found]


def ids_by_sample(samples: Any) -> dict[str, str]:
    """Returns sample_id -> id in FiftyOne of a dataset or a view of it, guests left out."""
    return dict(zip(*samples.exists("gradebook_id").values(["gradebook_id", "id"]), strict=True))


def place(dataset: Any, sample_ids: Sequence[str]) -> dict[str, str]:
    """Returns what the App's address must ask for to show exactly these samples: an id, or a saved view for several.

    It is to be called in the App's own process (see `_expect`). Without samples the address shows the whole dataset.

    Raises:
        ProjectError: the dataset lacks one of them, or they are too many for a saved view.
    """
    if len(sample_ids) > MOST:
        raise ProjectError(f"FiftyOne can be shown {MOST:,} images at once, not {len(sample_ids):,}: choose fewer")
    with _placing:
        return _place(dataset, sample_ids)


def _place(dataset: Any, sample_ids: Sequence[str]) -> dict[str, str]:
    if not sample_ids:  # another process has changed it: what is kept of brain runs may be old
        dataset.reload()
        dataset.clear_cache()
    found = _found(dataset, sample_ids)
    if missing := [sample_id for sample_id in sample_ids if sample_id not in found]:
        raise ProjectError(
            f"FiftyOne has not heard of {len(missing)} of the {len(sample_ids)} samples: "
            f"gradebook fiftyone {dataset.info['gradebook']}"
        )
    ids = [found[sample_id] for sample_id in sample_ids]
    if len(ids) < 2:
        _expect(dataset, sample=ids[0] if ids else None)
        return {"id": ids[0]} if ids else {}
    name = _save_shown(dataset, ids)
    _expect(dataset, view=dataset.load_saved_view(name))
    return {"view": name.replace(" ", "-")}


def _found(dataset: Any, sample_ids: Sequence[str]) -> dict[str, str]:
    from fiftyone import ViewField as F

    chosen = dataset.match(F("gradebook_id").is_in(list(sample_ids)))
    return dict(zip(*chosen.values(["gradebook_id", "id"]), strict=True))


def _save_shown(dataset: Any, ids: Sequence[str]) -> str:
    """Saves the view of these samples under a name of their own, and lets go of the oldest such views."""
    name = f"{SHOWN} {hashlib.blake2b(' '.join(ids).encode(), digest_size=4).hexdigest()}"
    said = f"{len(ids):,} images that were opened from the app"
    dataset.save_view(name, dataset.select(list(ids), ordered=True), description=said, overwrite=True)
    for old in [n for n in dataset.list_saved_views() if n.startswith(SHOWN)][:-KEPT]:  # in order of saving
        dataset.delete_saved_view(old)
    return name


def _expect(dataset: Any, *, view: Any = None, sample: str | None = None) -> None:
    """Prepares the App's server for a page that will open at this view or sample.

    FiftyOne 1.22 keeps one state for all pages of a server, and looks a page's `?view=` up in the dataset as that
    state knows it (fiftyone/server/events/initialize.py): a view that was saved since is not found, without a word,
    and the view that was open before is shown. A state that expects the page finds nothing to change, and so does
    not turn the pages that are open already to it either.
    """
    from fiftyone.server.events.state import get_state

    state = get_state()
    if state.dataset is None or state.dataset.name != dataset.name:
        return  # the page's own request reads the dataset anew
    state.dataset, state.view, state.sample_id = dataset, view, sample
    state.selected_samples, state.selected_labels = [], []
