"""Samples as FiftyOne's App knows them, by ids of its own, and the way from our ids to the App's addresses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.project import ProjectError

SHOWN = "from gradebook"  # the saved view that holds the samples which somebody opened from the app
FIELDS = ("id", "gradebook_id", "split", "label.label", "teacher.label", "teacher.confidence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the App shows of one sample."""

    id: str  # in FiftyOne
    sample_id: str
    split: str
    label: str | None
    teacher: str | None  # the pseudo-label: what the teacher said last
    confidence: float | None  # of that


def see(dataset: Any, ids: Sequence[str]) -> list[Seen]:
    """Returns what a project's dataset shows of the samples with these ids in FiftyOne, guests left out."""
    columns = dataset.select(list(ids)).exists("gradebook_id").values(list(FIELDS))
    return [
        Seen(id=id_, sample_id=sample_id, split=split, label=label, teacher=teacher, confidence=confidence)
        for id_, sample_id, split, label, teacher, confidence in zip(*columns, strict=True)
    ]


def place(dataset: Any, sample_ids: Sequence[str]) -> dict[str, str]:
    """Returns what the App's address must ask for to show exactly these samples: an id, or a saved view for several.

    Raises:
        ProjectError: the dataset lacks one of them.
    """
    from fiftyone import ViewField as F

    found = dict(
        zip(*dataset.match(F("gradebook_id").is_in(list(sample_ids))).values(["gradebook_id", "id"]), strict=True)
    )
    if missing := [sample_id for sample_id in sample_ids if sample_id not in found]:
        raise ProjectError(
            f"FiftyOne has not heard of {len(missing)} of the {len(sample_ids)} samples: "
            f"gradebook fiftyone {dataset.info['gradebook']}"
        )
    ids = [found[sample_id] for sample_id in sample_ids]
    if len(ids) == 1:
        return {"id": ids[0]}
    dataset.save_view(SHOWN, dataset.select(ids, ordered=True), description="Opened from the app", overwrite=True)
    return {"view": SHOWN.replace(" ", "-")}
