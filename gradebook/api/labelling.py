"""Labels given through the API: the samples that they name, and what the queue had shown of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gradebook.api import tables
from gradebook.pipelines.curation import labelling
from gradebook.pipelines.curation.labelling import Choice, Conflict
from gradebook.pipelines.curation.queue_items import Row
from gradebook.pipelines.curation.verdicts import Shown as ShownRow
from gradebook.pipelines.curation.verdicts import shown_of
from gradebook.storage.events import VERDICTS, Event
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    import pandas as pd

    from gradebook.storage.store import Store


@dataclass(frozen=True, slots=True)
class Shown:
    """What a queue showed of a sample."""

    row: ShownRow
    decision: str | None  # the event that decided it then, None if nothing did


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelResult:
    """The result of labelling."""

    taken: "pd.DataFrame"  # the verdicts that were written: event_id, sample_id, label, actor, kind, at
    conflicts: "pd.DataFrame"  # samples that somebody else has decided since: sample_id, label, current_label, by, at
    unchanged: tuple[str, ...]  # ids of samples that a person had already given this label
    changed: tuple[str, ...] = ()  # ids of samples not labelled, as their file has changed since: import it again

    def __repr__(self) -> str:
        taken, unchanged, conflicts = len(self.taken), len(self.unchanged), len(self.conflicts)
        return f"<LabelResult: {taken} taken, {unchanged} unchanged, {conflicts} conflicts>"


def shown(row: Row, run: str | None) -> Shown:
    """Returns what a row of the queue shows, with the run whose prediction it is."""
    return Shown(shown_of(row, run), row.decision)


def label(
    store: "Store", labels: "Mapping[str, str] | pd.DataFrame", seen: Mapping[str, Shown], actor: str | None
) -> LabelResult:
    """Writes labels as verdicts of a person.

    Args:
        store: the project.
        labels: as `gradebook.Project.label` takes them.
        seen: what was shown of samples: one that another event decides since is a conflict. Of other samples the
            present decision is what the label is based on.
        actor: the person's name; None takes the name of the account.

    Raises:
        ProjectError: there is no such sample or class, or a label is missing.
    """
    log = labelling.read_log(store)
    class_of = _by_sample(store, _pairs(labels))
    unchanged = [i for i, name in class_of.items() if _has_label(log.decided.get(i), name)]
    choices = []
    for sample_id, name in class_of.items():
        if sample_id in unchanged:
            continue
        now = log.decided.get(sample_id)
        known = seen.get(sample_id) or Shown(ShownRow(sample_id=sample_id), now.event_id if now else None)
        choices.append(Choice(shown=known.row, label=name, expected=known.decision))
    who = actor or labelling.actor()
    outcome = labelling.decide(store, choices, actor=who, read=partial(labelling.read_log, store, log))
    return LabelResult(
        taken=tables.events_table(outcome.taken),
        conflicts=tables.frame(map(_conflict_row, outcome.conflicts), tables.CONFLICTS),
        unchanged=tuple(unchanged),
        changed=tuple(choice.shown.sample_id for choice in outcome.changed),
    )


def _conflict_row(conflict: Conflict) -> dict[str, Any]:
    """Returns a label that was not written, and the decision that stands against it."""
    assert isinstance(conflict.item, Choice) and conflict.by is not None
    return {
        "sample_id": conflict.item.shown.sample_id,
        "label": conflict.item.label,
        "current_label": conflict.by.label,
        "by": conflict.by.actor,
        "at": conflict.by.at,
    }


def _pairs(labels: "Mapping[str, str] | pd.DataFrame") -> list[tuple[str, Any]]:
    """Returns pairs of a sample's id or path and its label."""
    if isinstance(labels, Mapping):
        return [(str(key), name) for key, name in labels.items()]
    columns = [str(name) for name in getattr(labels, "columns", ())]
    key = next((name for name in ("sample_id", "filepath") if name in columns), None)
    if key is None or "label" not in columns:
        raise ProjectError(
            f"labels has {'the columns ' + ', '.join(columns) if columns else 'no columns'}: give a dict of sample_id "
            "and class, or a table with the columns sample_id (or filepath) and label"
        )
    return [(str(sample), name) for sample, name in zip(labels[key], labels["label"], strict=True)]


def _by_sample(store: "Store", pairs: list[tuple[str, Any]]) -> dict[str, str]:
    """Returns sample_id -> class.

    Raises:
        ProjectError: there is no such sample or class, a label is missing, or a sample is given two.
    """
    from gradebook.pipelines.reporting.sample_history import find_sample

    known = store.catalog.paths([key for key, _ in pairs])
    class_of: dict[str, str] = {}
    for key, name in pairs:
        if not isinstance(name, str):
            raise ProjectError(f"the label of {key} is {name!r}: give the name of a class, or leave the sample out")
        sample_id = key if key in known else find_sample(store, key)
        if class_of.setdefault(sample_id, store.project.check_label(name)) != name:
            raise ProjectError(f"{key} is labelled {class_of[sample_id]} and {name}: give one label")
    return class_of


def _has_label(decision: Event | None, name: str) -> bool:
    return decision is not None and decision.kind in VERDICTS and decision.label == name
