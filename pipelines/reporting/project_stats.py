"""Statistics of a project. They are cached with a stamp of the tables, so unchanged ones are read without LanceDB."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gradebook.pipelines.curation import holdout
from gradebook.pipelines.curation.agreement import Agreement, agreement
from gradebook.pipelines.runs import list_runs
from gradebook.pipelines.session.lock import live_session
from gradebook.pipelines.session.status import live_status
from gradebook.storage import log_chain, splits
from gradebook.storage.class_changes import hex_color
from gradebook.storage.events import Event, Kind, decisions
from gradebook.storage.files import write_json, writing_cache
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import tables_of

if TYPE_CHECKING:
    from gradebook.storage.store import Store

CACHE_FILE = "overview.json"
TABLES = (*splits.TABLES, "events", "spaces")  # that the statistics depend on


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectStats:
    """The counts of a project: train + test = samples."""

    samples: int
    train: int
    labelled: int  # training samples with a label
    labels_per_class: Mapping[str, int]  # of these, in the order of the project's classes
    rejected: int  # training samples to which no class applies
    embedded: Sequence[str]  # backbones with embeddings, oldest first
    agreement: Mapping[str, Agreement]  # see `gradebook.pipelines.curation.agreement`


def count_stats(
    project: Project,
    samples: Iterable[Sample],
    events: Sequence[Event],
    decided: Mapping[str, Event],
    embedded: Sequence[str],
) -> ProjectStats:
    """Returns the statistics of these tables.

    Args:
        project: gives the classes.
        samples: of the project.
        events: of its log.
        decided: sample_id -> event, `gradebook.storage.events.decisions` of the events.
        embedded: backbones with embeddings.
    """
    splits = {sample.sample_id: sample.split for sample in samples}
    times = Counter(e.label for i, e in decided.items() if e.label is not None and splits.get(i) is Split.TRAIN)
    return ProjectStats(
        samples=len(splits),
        train=sum(split is Split.TRAIN for split in splits.values()),
        labelled=times.total(),
        labels_per_class={name: times[name] for name in project.classes},
        rejected=sum(e.kind is Kind.REJECTED and splits.get(i) is Split.TRAIN for i, e in decided.items()),
        embedded=tuple(embedded),
        agreement=agreement(events),
    )


def read_stats(store: "Store") -> ProjectStats:
    """Returns the current statistics of a project."""

    def compute() -> ProjectStats:
        events = store.log.read()
        embedded = [space.backbone for space in store.vectors.spaces()]
        return count_stats(store.project, store.catalog.samples(), events, decisions(events), embedded)

    return cached_stats(store.project, compute)


def cached_stats(project: Project, compute: Callable[[], ProjectStats]) -> ProjectStats:
    """Returns the cached statistics if no table has changed since, else computes and caches them.

    Args:
        project: the project.
        compute: returns the current statistics.
    """
    tables = tables_of(project).stamp(TABLES)
    if tables is None:  # remote tables have no stamp: other writers would go unnoticed
        return compute()
    stamp = f"{tables} {','.join(project.classes)}"
    if (cached := _read(project, stamp)) is not None:
        return cached
    stats = compute()
    _write(project, stamp, stats)
    return stats


def list_classes(store: "Store") -> list[dict[str, Any]]:
    """Returns the project's classes in order, each as name, labels (training images), key and color."""
    counts = read_stats(store).labels_per_class
    return [
        {"name": c.name, "labels": counts.get(c.name, 0), "key": c.key, "color": hex_color(c)}
        for c in store.project.styled_classes
    ]


def summarize_project(store: "Store") -> dict[str, Any]:
    """Returns the project's counts (labeled + unlabeled + test = samples), classes, embeddings, runs and session."""
    from gradebook.pipelines.importing.near_copies import split_leaks
    from gradebook.storage.sample_files import changed_samples

    stats, samples = read_stats(store), store.catalog.samples()
    drawn = holdout.state(store)
    return {
        "project": str(store.project.root),
        "samples": stats.samples,
        "labeled": stats.labelled,
        "unlabeled": stats.train - stats.labelled,
        "rejected": stats.rejected,
        "test": stats.samples - stats.train,
        "changed": len(changed_samples(store.catalog, samples)),
        "near_leaks": len(split_leaks(store)),
        "lost_events": log_chain.missing(tables_of(store.project).directory, store.log.count()),
        "drawn": {"test": drawn.test, "unlabelled": drawn.unlabelled},
        "classes": list(store.project.classes),
        "labels_per_class": dict(stats.labels_per_class),
        "embedded": list(stats.embedded),
        "runs": [
            {"name": run.name, "state": str(status.state), "step": status.step, "steps": status.steps}
            | {"message": status.message}
            for run in list_runs(store.project)
            for status in [run.status()]
        ],
        "session": _session(store),
        "agreement": stats.agreement,
    }


def _session(store: "Store") -> dict[str, Any] | None:
    """Returns the status of the project's live session; of one whose files are corrupt, the error as its `line`."""
    try:
        if live_session(store.project) is None:
            return None
        status = live_status(store.project, store.log.read())
    except ProjectError as error:
        return {"line": str(error)}
    return None if status is None else status.as_json() | {"line": status.line}


def _read(project: Project, stamp: str) -> ProjectStats | None:
    try:
        cached = json.loads((project.root / CACHE_FILE).read_text(encoding="utf-8"))
        return ProjectStats(**cached["numbers"]) if cached["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):  # missing, damaged or of another version
        return None


def _write(project: Project, stamp: str, stats: ProjectStats) -> None:
    with writing_cache():
        write_json(project.root / CACHE_FILE, {"stamp": stamp, "numbers": asdict(stats)})
