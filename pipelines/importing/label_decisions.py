"""Which labels of an import are written, and which images get none because their files contradict each other."""

from collections.abc import Mapping
from pathlib import Path

from gradebook.pipelines.importing.import_report import Conflict
from gradebook.pipelines.importing.labels import Labels
from gradebook.storage.events import Event, Kind, event
from gradebook.storage.store import Store

ACTOR = "import"  # of a label whose source does not say who gave it


def decide_labels(store: Store, source: Labels, contents: Mapping[str, str]) -> tuple[list[Conflict], list[Event]]:
    """Returns the samples whose files disagree on the label, and an event for each other label that is new.

    A label is not new if the last import that labelled the sample gave it the same, whatever was decided since. It
    contradicts the label of an earlier import if that one's file still exists and has no label now; otherwise it
    corrects it.
    """
    labels: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(source.of.keys() & contents.keys()):
        labels.setdefault(contents[path], []).extend((path, label) for label in source.of[path])
    if not labels:
        return [], []
    imported = _imported(store)
    holders: dict[str, list[str]] = {}
    for file in store.catalog.files():
        holders.setdefault(file.sample_id, []).append(file.filepath)
    conflicts, events = [], []
    for sample_id, pairs in labels.items():
        label, earlier = pairs[0][1], imported.get(sample_id)
        if earlier not in (None, label):
            others = set(holders[sample_id]) - {path for path, _ in pairs}
            pairs += [(path, str(earlier)) for path in sorted(others) if Path(path).exists()]
        if len({label for _, label in pairs}) > 1:
            conflicts.append(tuple(pairs))
        elif earlier != label:
            by = next((source.by[path] for path, _ in pairs if path in source.by), ACTOR)
            events.append(event(Kind.IMPORTED, sample_id, label, actor=by))
    return conflicts, events


def _imported(store: Store) -> dict[str, str | None]:
    """Returns the label that each sample was given by the last import that gave it one."""
    rows = [e for e in store.log.read() if e.kind is Kind.IMPORTED]
    return {e.sample_id: e.label for e in sorted(rows, key=lambda e: (e.at, e.event_id))}
