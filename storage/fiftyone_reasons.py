"""Review reasons in a project's FiftyOne dataset: one field and one saved view for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FIELD = "reasons"


@dataclass(frozen=True, slots=True)
class Reason:
    """The description of a reason."""

    sentence: str
    of_labels: bool = False  # whether it concerns given labels rather than pseudo-labels


@dataclass(frozen=True, slots=True)
class Reasons:
    """The reasons of a project's review queue with their scores, and what the queue proposes."""

    known: Mapping[str, Reason] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # sample_id -> reason -> [0, 1]
    proposed: Mapping[str, tuple[str, float | None]] = field(default_factory=dict)  # sample_id -> label, probability


def declare(dataset: Any, names: Mapping[str, Any]) -> None:
    """Adds the missing fields of reasons to the dataset, all under the field `reasons`."""
    import fiftyone as fo

    missing = [name for name in names if not dataset.has_sample_field(f"{FIELD}.{name}")]
    if not missing:
        return
    if not dataset.has_sample_field(FIELD):
        dataset.add_sample_field(FIELD, fo.EmbeddedDocumentField, embedded_doc_type=fo.DynamicEmbeddedDocument)
    _set_read_only(dataset, False)
    for name in missing:
        dataset.add_sample_field(f"{FIELD}.{name}", fo.FloatField)
    _set_read_only(dataset, True)


def _set_read_only(dataset: Any, read_only: bool) -> None:
    """Makes the field `reasons` read-only for users, or writable to add a field to it."""
    field = dataset.get_field(FIELD)
    field.read_only = read_only
    field.save()


def paths(dataset: Any) -> tuple[str, ...]:
    """Returns the paths of the reasons that the dataset has fields for."""
    schema = dataset.get_field_schema(flat=True)
    return tuple(sorted(path for path in schema if path.startswith(f"{FIELD}.")))


def as_document(values: Mapping[str, Any]) -> Any:
    """Returns the value of the field `reasons` from values by path, None if no reason is known."""
    import fiftyone as fo

    scores = {path.split(".", 1)[1]: value for path, value in values.items() if path.startswith(f"{FIELD}.")}
    known = {name: value for name, value in scores.items() if value is not None}
    return fo.DynamicEmbeddedDocument(**known) if known else None


def save_views(dataset: Any, known: Mapping[str, Reason]) -> None:
    """Saves the views of a project that are missing or have changed.

    Unchanged ones are left alone: a view that is saved again gets a new id, which a running server does not know.
    """
    from fiftyone import ViewField as F

    views = {
        "disagreements": (dataset.match(F("disagreement")), "Label, teacher and student disagree"),
        "flipped": (dataset.match(F("flips") > 0).sort_by("flips", reverse=True), "The teacher's label has changed"),
        "unlabeled": (dataset.exists("label", False), "No label yet"),
    }
    for name, reason in known.items():
        score = f"{FIELD}.{name}"
        waiting = dataset.exists("label", reason.of_labels).match(F(score) > 0)
        views[view_name(name)] = (waiting.sort_by(score, reverse=True), _capital(reason.sentence))
    for name, (view, description) in views.items():
        if not (dataset.has_saved_view(name) and dataset.load_saved_view(name) == view):
            dataset.save_view(name, view, description=description, overwrite=True)


def view_name(reason: str) -> str:
    """Returns the name of the saved view that is ordered by a reason."""
    return f"by {reason.replace('_', ' ')}"


def _capital(sentence: str) -> str:
    return f"{sentence[:1].upper()}{sentence[1:]}"
