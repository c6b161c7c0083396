"""The API's tables: pandas DataFrames of samples, labels, the queue, events and the record."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradebook.storage.events import Event

if TYPE_CHECKING:
    import pandas as pd

    from gradebook.pipelines.curation.queue_items import Row
    from gradebook.storage.samples import Sample

REASON_PREFIX = "reasons."  # of a column with the scores of a reason, as in FiftyOne
QUEUE = ("sample_id", "filepath", "label", "probability", "score", "source", "given", "decision", "proposal")
SAMPLES = ("sample_id", "filepath", "split", "width", "height", "label", "by", "at")
LABELS = ("sample_id", "filepath", "split", "label", "by", "at")
EVENTS = ("event_id", "sample_id", "label", "actor", "kind", "at")
CONFLICTS = ("sample_id", "label", "current_label", "by", "at")
RECORD = (
    *("run", "step", "teacher_label", "teacher_probability", "runner_up", "student_label", "student_probability"),
    *("feedback", "best_label", "best_gain"),
)


def frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> "pd.DataFrame":
    """Returns rows as a table that has these columns, also where there are no rows."""
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(columns))


def queue_table(rows: Sequence["Row"]) -> "pd.DataFrame":
    """Returns the rows of a queue, with a column `reasons.NAME` for each reason that has a score in one of them."""
    names = list(dict.fromkeys(name for row in rows for name in row.reasons))
    values = [
        {name: getattr(row, name) for name in QUEUE} | {REASON_PREFIX + name: row.reasons.get(name) for name in names}
        for row in rows
    ]
    return frame(values, [*QUEUE, *(REASON_PREFIX + name for name in names)])


def samples_table(
    samples: Iterable["Sample"], decided: Mapping[str, Event], columns: Sequence[str] = SAMPLES
) -> "pd.DataFrame":
    """Returns samples with their labels; `by` and `at` say who gave the label, and when.

    Args:
        samples: of the catalogue.
        decided: sample_id -> the event that decides it.
        columns: of the table.
    """

    def row(sample: "Sample") -> dict[str, Any]:
        values = {name: getattr(sample, name) for name in ("sample_id", "filepath", "width", "height")}
        values["split"] = sample.split.value
        if (e := decided.get(sample.sample_id)) is not None:
            values |= {"label": e.label, "by": e.actor, "at": e.at}
        return values

    return frame(map(row, samples), columns)


def events_table(events: Iterable[Event]) -> "pd.DataFrame":
    """Returns events of the log, a row each."""
    return frame(({name: getattr(e, name) for name in EVENTS} | {"kind": str(e.kind)} for e in events), EVENTS)
