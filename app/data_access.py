"""The project's data for the pages, cached in memory until it changes on disk."""

import base64
import os
import threading
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from gradebook.app.text import as_sentence
from gradebook.pipelines.curation.event_cache import EventCache, extend
from gradebook.pipelines.curation.queue_items import Row
from gradebook.pipelines.image_cache import as_jpeg, open_preview
from gradebook.pipelines.reporting import project_stats
from gradebook.pipelines.runs import Run
from gradebook.storage import splits
from gradebook.storage.images import BrokenImage
from gradebook.storage.project import SETTINGS, Project, read_project
from gradebook.storage.run_classes import RunClasses, run_classes
from gradebook.storage.sample_files import file_problem
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import Store, tables_of

LABEL_COLUMNS = ("teacher_label", "student_label", "runner_up", "best_label")  # of the record
RECORD_TTL_S = 5  # a run's record is read again after this time
SAMPLES_TTL_S = 20  # in a store at an address, imports by other processes are noticed after this time


def open_project(root: Path) -> Store:
    """Returns the project's store, opened once per server and again when the project's settings change.

    Raises:
        ProjectError: `root` is not a project.
    """
    root = root.expanduser().resolve()
    settings = root / SETTINGS
    return _open_store(str(root), settings.stat().st_mtime_ns if settings.is_file() else 0)


def have_classes_changed(store: Store) -> bool:
    """Returns whether the classes have changed since the store was opened."""
    return read_project(store.project.root).history != store.project.history


def preload(store: Store) -> None:
    """Loads what the next page needs, in the background."""
    _preload(_root(store), store)


def read_events(store: Store) -> EventCache:
    """Returns the current log; reads only the events that were added since the last call."""
    slot = _event_slot(_root(store))
    is_new = slot.store is not store  # LanceDB is then loaded, which takes seconds
    with st.spinner("Opening the project") if is_new else nullcontext(), slot.lock:
        version = store.log.version()
        if slot.store is not store or version < slot.version:  # the directory has another project now
            slot.store, slot.version, slot.events = store, 0, EventCache()
        if version != slot.version:
            slot.events = extend(slot.events, store.log.read(len(slot.events.events)))
            slot.version = version
        return slot.events


def read_samples(store: Store) -> dict[str, Sample]:
    """Returns the catalogue in order of import, by sample_id. At an address it may be `SAMPLES_TTL_S` old."""
    stamp = tables_of(store.project).stamp(splits.TABLES)
    return _samples(_root(store), stamp, store)


def clear_samples() -> None:
    """Makes the next `read_samples` read the catalogue again."""
    _samples.clear()


def read_stats(store: Store) -> project_stats.ProjectStats:
    """Returns the project's statistics; cached ones need no LanceDB, whose loading takes seconds."""

    def compute() -> project_stats.ProjectStats:
        events, embedded = read_events(store), [space.backbone for space in store.vectors.spaces()]
        samples = read_samples(store).values()
        return project_stats.count_stats(store.project, samples, events.events, events.decided, embedded)

    return project_stats.cached_stats(store.project, compute)


def training_labels(store: Store) -> dict[str, str]:
    """Returns the labels of the training split: sample_id -> label."""
    samples, labels = read_samples(store), read_events(store).labels
    return {i: label for i, label in labels.items() if i in samples and samples[i].split is Split.TRAIN}


def read_history(store: Store, run: Run | None, sample_id: str) -> list[dict[str, Any]]:
    """Returns the record of one sample in a run, its newest segments included; empty without a run."""
    if run is None:
        return []
    update_record(store, run.name)
    return with_present_names(store, run, store.record.history(sample_id, run.name))


def with_present_names(store: Store, run: Run, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns rows of a run's record with the present names of its classes."""
    class_map = known_classes(store, run)
    if not class_map.have_changed:
        return rows
    return [row | {name: class_map.rename(row[name]) for name in LABEL_COLUMNS} for row in rows]


def known_classes(store: Store, run: Run) -> RunClasses:
    """Returns the classes of a run under their present names."""
    return run_classes(run.config(), store.project.history)


def update_record(store: Store, run: str) -> None:
    """Folds a run's new segments into the store (`Record.fold`), at most every `RECORD_TTL_S`."""
    _update_record(_root(store), run, store)


def read_image(project: Project, sample: Sample | Row, size: int) -> bytes | None:
    """Returns a sample's image as a JPEG file of at most `size` pixels on each side, None if it cannot be read."""
    try:
        return _jpeg(str(project.root), sample.sample_id, sample.filepath, _version(sample.filepath), size, project)
    except BrokenImage:
        return None


def unreadable_text(sample: Sample | Row) -> str:
    """Returns the sentence shown instead of an image that `read_image` cannot read, such as a replaced one."""
    return as_sentence(file_problem(Path(sample.filepath), sample.sample_id) or "this file cannot be read")


def image_data_url(project: Project, sample: Sample | Row, size: int) -> str | None:
    """Returns `read_image` as a data URL, so that there is no address from which a file could be requested."""
    jpeg = read_image(project, sample, size)
    return None if jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _root(store: Store) -> str:
    """Returns the project's directory, which is the key of its cached data."""
    return str(store.project.root)


@st.cache_resource(max_entries=4, show_spinner="Opening the project")
def _open_store(root: str, settings_time: int) -> Store:
    from gradebook.storage.store import open_store

    return open_store(Path(root))


@st.cache_resource(max_entries=4, show_spinner=False)
def _preload(root: str, _store: Store) -> None:
    threading.Thread(target=_store.log.version, daemon=True).start()  # this loads LanceDB


@dataclass(slots=True)
class _EventSlot:
    """A project's cached events, and the version of the log from which they were read."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    store: Store | None = None
    version: int = 0
    events: EventCache = field(default_factory=EventCache)


@st.cache_resource(max_entries=8, show_spinner=False)
def _event_slot(root: str) -> _EventSlot:
    return _EventSlot()


@st.cache_resource(max_entries=4, ttl=SAMPLES_TTL_S, show_spinner="Opening the project")
def _samples(root: str, stamp: str | None, _store: Store) -> dict[str, Sample]:
    return {sample.sample_id: sample for sample in _store.catalog.samples()}


@st.cache_data(max_entries=64, ttl=RECORD_TTL_S, show_spinner=False)
def _update_record(root: str, run: str, _store: Store) -> int:
    return _store.record.fold(run, _store.project.runs / run / "record")


def _version(filepath: str) -> tuple[int, ...] | None:
    """Returns size and modification time of a file, so that the picture of a replaced one is not taken from memory."""
    try:
        status = os.stat(filepath)  # noqa: PTH116  # twice as fast as pathlib's, and a grid has 200 images
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@st.cache_data(max_entries=4000, show_spinner=False)
def _jpeg(
    root: str, sample_id: str, filepath: str, version: tuple[int, ...] | None, size: int, _project: Project
) -> bytes:
    return as_jpeg(open_preview(_project, sample_id, Path(filepath), size), size)
