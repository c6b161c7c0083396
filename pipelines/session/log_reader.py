"""The labels of a project as a live session reads them: new events alone, and only once a file of the log changes."""

from typing import TYPE_CHECKING

from gradebook.pipelines.curation.event_cache import EventCache, extend
from gradebook.pipelines.training.live_labels import LabelListener, Labels
from gradebook.storage.events import Event
from gradebook.storage.samples import Split
from gradebook.storage.splits import drawn_for_testing
from gradebook.storage.store import tables_of

if TYPE_CHECKING:
    from gradebook.storage.store import Store

POLL_INTERVAL_S = 0.5


class LogReader:
    """Reads the log of a project as it grows."""

    def __init__(self, store: "Store"):
        self._store = store
        self._tables = tables_of(store.project)
        self._cache = EventCache()
        self._training: set[str] = set()
        self._drawn = drawn_for_testing(store.catalog.split_changes())  # no test set is drawn during a session

    @property
    def events(self) -> int:
        """The number of events read so far."""
        return len(self._cache.events)

    @property
    def newest_verdict(self) -> Event | None:
        """The last event read that decides a sample and stands; None without one."""
        decided = self._cache.decided
        return next((e for e in reversed(self._cache.events) if decided.get(e.sample_id) is e), None)

    def listener(self) -> LabelListener:
        """Returns a listener for labels of events that have not been read yet."""
        return LabelListener(self.version, self.read, every=POLL_INTERVAL_S)

    def version(self) -> object:
        """Returns a value that every append changes; looks at files, where there are any, and not into the table."""
        return self._tables.stamp(("events",)) or self._store.log.version()

    def read(self) -> Labels:
        """Reads the new events; returns the current label of every decided sample, None for rejected ones.

        Those of images that were drawn for testing are left out.
        """
        self._cache = extend(self._cache, self._store.log.read(self.events))
        return {i: e.label for i, e in self._cache.decided.items() if i not in self._drawn}

    def labelled_classes(self) -> set[str]:
        """Returns the classes that a training image is labelled with, by the events read so far."""
        labels = self._cache.labels
        if not labels.keys() <= self._training:  # images may have been imported since
            self._training = {s.sample_id for s in self._store.catalog.samples(Split.TRAIN)}
        return {name for sample_id, name in labels.items() if sample_id in self._training}
