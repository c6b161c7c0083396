"""The samples of a project's FiftyOne dataset: their ids there, and the URL parameters that open them in the App."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradebook.storage.project import ProjectError

SHOWN = "from gradebook"  # prefix of the names of saved views of samples that were opened from the app
MAX_SAVED_VIEWS = 12  # with that prefix; older ones are deleted
MAX_SAMPLES = 100_000  # of a saved view: MongoDB limits its document to 16 MB
_view_lock = threading.Lock()  # concurrent saves would overwrite each other's view
FIELDS = {  # attribute of `FiftyOneSample` -> path in the dataset
    "id": "id",
    "sample_id": "gradebook_id",
    "filepath": "filepath",
    "split": "split",
    "label": "label.label",
    "decision": "decision",
    "prediction": "prediction.label",
    "confidence": "prediction.confidence",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FiftyOneSample:
    """One sample in the App."""

    id: str  # in FiftyOne
    sample_id: str
    filepath: str
    split: str
    label: str | None
    decision: str | None  # the event that decided the label
    prediction: str | None  # what the queue proposes
    confidence: float | None  # of that label


def read_samples(dataset: Any, ids: Sequence[str]) -> list[FiftyOneSample]:
    """Returns the samples with these ids in FiftyOne, except those that the user added in FiftyOne."""
    columns = dataset.select(list(ids)).exists("gradebook_id").values(list(FIELDS.values()))
    return [FiftyOneSample(**dict(zip(FIELDS, row, strict=True))) for row in zip(*columns, strict=True)]


def fiftyone_ids(dataset: Any, sample_ids: Sequence[str]) -> list[str]:
    """Returns the ids in FiftyOne of these samples in their order, except those that the dataset lacks."""
    ids_in_fiftyone = _look_up_ids(dataset, sample_ids)
    return [ids_in_fiftyone[sample_id] for sample_id in sample_ids if sample_id in ids_in_fiftyone]


def ids_by_sample(samples: Any) -> dict[str, str]:
    """Returns sample_id -> id in FiftyOne of a dataset or view, except those that the user added."""
    return dict(zip(*samples.exists("gradebook_id").values(["gradebook_id", "id"]), strict=True))


def open_parameters(dataset: Any, sample_ids: Sequence[str]) -> dict[str, str]:
    """Returns the URL parameters with which the App shows exactly these samples: an id, or a saved view of several.

    Call it in the process of the App (see `_expect`). Without samples the App shows the whole dataset.

    Raises:
        ProjectError: the dataset lacks one of them, or there are too many for a saved view.
    """
    if len(sample_ids) > MAX_SAMPLES:
        raise ProjectError(f"FiftyOne shows {MAX_SAMPLES:,} images at most, not {len(sample_ids):,}: choose fewer")
    with _view_lock:
        return _open_parameters(dataset, sample_ids)


def _open_parameters(dataset: Any, sample_ids: Sequence[str]) -> dict[str, str]:
    if not sample_ids:  # another process may have changed it: cached brain runs may be outdated
        dataset.reload()
        dataset.clear_cache()
    ids_in_fiftyone = _look_up_ids(dataset, sample_ids)
    if missing := [sample_id for sample_id in sample_ids if sample_id not in ids_in_fiftyone]:
        raise ProjectError(
            f"FiftyOne's dataset lacks {len(missing)} of the {len(sample_ids)} samples: update it with "
            f"gradebook fiftyone {dataset.info['gradebook']}"
        )
    ids = [ids_in_fiftyone[sample_id] for sample_id in sample_ids]
    if len(ids) < 2:
        _expect(dataset, sample=ids[0] if ids else None)
        return {"id": ids[0]} if ids else {}
    name = _save_shown(dataset, ids)
    _expect(dataset, view=dataset.load_saved_view(name))
    return {"view": name.replace(" ", "-")}


def _look_up_ids(dataset: Any, sample_ids: Sequence[str]) -> dict[str, str]:
    from fiftyone import ViewField as F

    chosen = dataset.match(F("gradebook_id").is_in(list(sample_ids)))
    return dict(zip(*chosen.values(["gradebook_id", "id"]), strict=True))


def _save_shown(dataset: Any, ids: Sequence[str]) -> str:
    """Saves a view of these samples, named by a hash of their ids, and deletes the oldest such views."""
    name = f"{SHOWN} {hashlib.blake2b(' '.join(ids).encode(), digest_size=4).hexdigest()}"
    description = f"{len(ids):,} images that were opened from the app"
    dataset.save_view(name, dataset.select(list(ids), ordered=True), description=description, overwrite=True)
    for old in [n for n in dataset.list_saved_views() if n.startswith(SHOWN)][:-MAX_SAVED_VIEWS]:  # in order of saving
        dataset.delete_saved_view(old)
    return name


def _expect(dataset: Any, *, view: Any = None, sample: str | None = None) -> None:
    """Prepares the App's server for a page that will open with this view or sample.

    FiftyOne 1.22 holds one state for all pages of a server, and looks up `?view=` in that state's copy of the
    dataset (fiftyone/server/events/initialize.py). A view that was saved later is not found there; without an error,
    the previous view is shown. With the state set beforehand the server changes nothing when the page opens, so
    pages that are already open stay as they are.
    """
    from fiftyone.server.events.state import get_state

    state = get_state()
    if state.dataset is None or state.dataset.name != dataset.name:
        return  # the page's own request reloads the dataset
    state.dataset, state.view, state.sample_id = dataset, view, sample
    state.selected_samples, state.selected_labels = [], []
