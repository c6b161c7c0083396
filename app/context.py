"""What every page gets, and the project's data as pages read it: each thing once until it changes."""

import base64
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from gradebook.pipelines.curation import labelling
from gradebook.pipelines.curation.event_cache import EventCache, grown
from gradebook.pipelines.curation.labelling import Choice, Undo
from gradebook.pipelines.curation.queue_items import Row
from gradebook.pipelines.curation.verdicts import Shown
from gradebook.pipelines.image_cache import as_jpeg, open_preview
from gradebook.pipelines.reporting.project_stats import ProjectStats, cached_stats, count_stats
from gradebook.pipelines.runs import Run
from gradebook.storage.events import Event
from gradebook.storage.images import BrokenImage
from gradebook.storage.project import SETTINGS, Project
from gradebook.storage.samples import Sample, Split
from gradebook.storage.store import Store, tables_of

FRESH_SECONDS = 5  # for which what a run has recorded is taken as known
KEPT_SECONDS = 20  # how late the app may see an import that another process makes into a store at an address


@dataclass(frozen=True, slots=True)
class Desk:
    """The open project, who sits at it, and where the pages are."""

    store: Store
    run: Run | None  # whose guesses and record to show
    actor: str  # a person's name
    pages: Mapping[str, Any] = field(default_factory=dict)  # name -> st.Page, empty in tests of one page
    query: Mapping[str, str] = field(default_factory=dict)  # what every address must keep
    beginning: bool = False  # whether to draw what matters first and no more, see `gradebook.app.progressive_render`

    @property
    def root(self) -> str:
        """The project's directory, which keys everything kept in memory."""
        return str(self.store.project.root)


def open_project(root: Path) -> Store:
    """Opens a project once a session of the server; again when its settings change.

    Raises:
        ProjectError: `root` is not a project.
    """
    root = root.expanduser().resolve()
    settings = root / SETTINGS
    return _opened(str(root), settings.stat().st_mtime_ns if settings.is_file() else 0)


def read_book(store: Store) -> EventCache:
    """Returns the log as it is now: what was read before is kept, what has come since is read."""
    shelf = _shelf(str(store.project.root))
    first = shelf.store is not store  # LanceDB is loaded, which takes seconds
    with st.spinner("Opening the project") if first else nullcontext(), shelf.lock:
        version = store.log.version()
        if shelf.store is not store or version < shelf.version:  # another project has taken this one's place
            shelf.store, shelf.version, shelf.book = store, 0, EventCache()
        if version != shelf.version:
            shelf.book = grown(shelf.book, store.log.read(len(shelf.book.events)))
            shelf.version = version
        return shelf.book


def decide(desk: Desk, shown: Shown, label: str | None, *, over: Event | None) -> Event | None:
    """Writes a reviewer's choice, unless the sample has been decided since it was drawn.

    Args:
        desk: the open project.
        shown: what was on the screen.
        label: the class chosen; None says that no class applies.
        over: the event that decided the sample when it was drawn, None if nothing did.

    Returns:
        The event that came in between, so that nothing was written; None if all is well.
    """
    return _conflict(desk, Choice(shown=shown, label=label, expected=over.event_id if over else None))


def take_back(desk: Desk, decision: Event) -> Event | None:
    """Writes that a verdict does not stand any more; returns what `decide` does."""
    return _conflict(desk, Undo(ref=decision.event_id, expected=decision.event_id, of_anyone=True))


def _conflict(desk: Desk, item: labelling.Item) -> Event | None:
    outcome = write_verdicts(desk, [item])
    return outcome.conflicts[0].by if outcome.conflicts else None


def write_verdicts(desk: Desk, items: Sequence[labelling.Item]) -> labelling.Outcome:
    """Writes what a reviewer decided: see `gradebook.pipelines.curation.labelling.decide`."""
    return labelling.decide(desk.store, items, actor=desk.actor, read=partial(read_book, desk.store))


def read_samples(store: Store) -> dict[str, Sample]:
    """Returns the catalogue: sample_id -> sample, in order of import. At an address it may be `KEPT_SECONDS` old."""
    stamp = tables_of(store.project).stamp(("samples", "files"))
    return _samples(str(store.project.root), stamp, store)


def read_stats(store: Store) -> ProjectStats:
    """Returns the project's numbers. Where they are kept, LanceDB is not loaded for them, which takes seconds."""

    def counted() -> ProjectStats:
        book, embedded = read_book(store), [space.backbone for space in store.vectors.spaces()]
        return count_stats(store.project, read_samples(store).values(), book.events, book.decided, embedded)

    return cached_stats(store.project, counted)


def warm(store: Store) -> None:
    """Loads what the next page needs while this one is looked at."""
    _warm(str(store.project.root), store)


def read_training_labels(store: Store, book: EventCache) -> dict[str, str]:
    """Returns the labels of the samples to train on, those of the test split left out: sample_id -> label."""
    samples = read_samples(store)
    return {i: label for i, label in book.labels.items() if i in samples and samples[i].split is Split.TRAIN}


def forget_samples() -> None:
    """Lets the next `read_samples` see what another process has imported."""
    _samples.clear()


def read_history(desk: Desk, sample_id: str) -> list[dict[str, Any]]:
    """Returns the record of one sample in the desk's run, the newest segments included."""
    if desk.run is None:
        return []
    fold(desk, desk.run.name)
    return desk.store.record.history(sample_id, desk.run.name)


def fold(desk: Desk, run: str) -> None:
    """Brings what a run has recorded into the store, now and then: see `gradebook.storage.record.Record.fold`."""
    _fold(desk.root, run, desk.store)


def picture(desk: Desk, sample: Sample | Row, size: int) -> bytes | None:
    """Returns a sample's image as a JPEG file of at most `size` pixels either way, None if it cannot be read."""
    try:
        return _jpeg(desk.root, sample.sample_id, sample.filepath, size, desk.store.project)
    except BrokenImage:
        return None


def picture_address(desk: Desk, sample: Sample | Row, size: int) -> str | None:
    """Returns the same as a data address: the browser can ask for no file, so for no wrong one."""
    content = picture(desk, sample, size)
    return None if content is None else f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


@st.cache_data(max_entries=4000, show_spinner=False)
def _jpeg(root: str, sample_id: str, filepath: str, size: int, _project: Project) -> bytes:
    return as_jpeg(open_preview(_project, sample_id, Path(filepath), size), size)


@st.cache_resource(max_entries=4, show_spinner="Opening the project")
def _opened(root: str, changed: int) -> Store:
    from gradebook.storage.store import open_store

    return open_store(Path(root))


@st.cache_resource(max_entries=4, show_spinner=False)
def _warm(root: str, _store: Store) -> None:
    threading.Thread(target=_store.log.version, daemon=True).start()  # which loads LanceDB


@dataclass(slots=True)
class _Shelf:
    """Where a project's book stands between two looks at the log."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    store: Store | None = None
    version: int = 0
    book: EventCache = field(default_factory=EventCache)


@st.cache_resource(max_entries=8, show_spinner=False)
def _shelf(root: str) -> _Shelf:
    return _Shelf()


@st.cache_resource(max_entries=4, ttl=KEPT_SECONDS, show_spinner="Opening the project")
def _samples(root: str, stamp: str | None, _store: Store) -> dict[str, Sample]:
    return {sample.sample_id: sample for sample in _store.catalog.samples()}


@st.cache_data(max_entries=64, ttl=FRESH_SECONDS, show_spinner=False)
def _fold(root: str, run: str, _store: Store) -> int:
    return _store.record.fold(run, _store.project.runs / run / "record")
