"""A project in numbers. What they were counted from is stamped: nobody counts twice, or loads LanceDB, for them."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.curation.agreement import Agreement, agreement
from gradebook.pipelines.runs import list_runs
from gradebook.storage.events import Event, Kind, decisions
from gradebook.storage.files import write_json
from gradebook.storage.project import Project
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import tables_of

if TYPE_CHECKING:
    from gradebook.storage.store import Store

KEPT = "overview.json"
COUNTED = ("samples", "files", "events", "spaces")  # the tables that the numbers are of


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectStats:
    """What a project holds: train + test = samples."""

    samples: int
    train: int
    labelled: int  # samples to train on that have a label
    labels_per_class: Mapping[str, int]  # of these, in the project's order
    rejected: int  # no class applies
    embedded: Sequence[str]  # backbones that looked at the images, in order
    agreement: Mapping[str, Agreement]  # see `gradebook.pipelines.curation.agreement`


def count_stats(
    project: Project,
    samples: Iterable[Sample],
    events: Sequence[Event],
    decided: Mapping[str, Event],
    embedded: Sequence[str],
) -> ProjectStats:
    """Returns the numbers of what was read: `decided` is what `gradebook.storage.events.decisions` says of the
    events.
    """
    splits = {sample.sample_id: sample.split for sample in samples}
    times = Counter(e.label for i, e in decided.items() if e.label is not None and splits.get(i) is Split.TRAIN)
    return ProjectStats(
        samples=len(splits),
        train=sum(split is Split.TRAIN for split in splits.values()),
        labelled=times.total(),
        labels_per_class={name: times[name] for name in project.classes},
        rejected=sum(e.kind is Kind.REJECTED for e in decided.values()),
        embedded=tuple(embedded),
        agreement=agreement(events),
    )


def read_stats(store: "Store") -> ProjectStats:
    """Returns a project's numbers as they are now."""

    def counted() -> ProjectStats:
        events = store.log.read()
        embedded = [space.backbone for space in store.vectors.spaces()]
        return count_stats(store.project, store.catalog.samples(), events, decisions(events), embedded)

    return cached_stats(store.project, counted)


def cached_stats(project: Project, counted: Callable[[], ProjectStats]) -> ProjectStats:
    """Returns the numbers that were kept if nothing was written since, else those that `counted` gives, and keeps them.

    Args:
        project: whose numbers.
        counted: reads what is there now, or later.
    """
    tables = tables_of(project).stamp(COUNTED)
    if tables is None:  # at an address: who else writes there is not seen
        return counted()
    stamp = f"{tables} {','.join(project.classes)}"
    if (known := _read(project, stamp)) is not None:
        return known
    found = counted()
    _keep(project, stamp, found)
    return found


def summarize_project(store: "Store") -> dict[str, Any]:
    """Returns the project's counts (labeled + unlabeled + test = samples), classes, spaces of vectors and runs."""
    numbers = read_stats(store)
    return {
        "project": str(store.project.root),
        "samples": numbers.samples,
        "labeled": numbers.labelled,
        "unlabeled": numbers.train - numbers.labelled,
        "test": numbers.samples - numbers.train,
        "classes": list(store.project.classes),
        "labels_per_class": dict(numbers.labels_per_class),
        "embedded": list(numbers.embedded),
        "runs": [
            {"name": run.name, "state": str(status.state), "step": status.step, "steps": status.steps}
            | {"message": status.message}
            for run in list_runs(store.project)
            for status in [run.status()]
        ],
        "agreement": numbers.agreement,
    }


def _read(project: Project, stamp: str) -> ProjectStats | None:
    try:
        said = json.loads((project.root / KEPT).read_text(encoding="utf-8"))
        return ProjectStats(**said["numbers"]) if said["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):  # none there, or not ours: they are counted
        return None


def _keep(project: Project, stamp: str, numbers: ProjectStats) -> None:
    with suppress(OSError):  # nobody may write here, or the disk is full: they are counted again
        write_json(project.root / KEPT, {"stamp": stamp, "numbers": asdict(numbers)})
