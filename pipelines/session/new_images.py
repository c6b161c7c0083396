"""Notices training images that are embedded while a session is live."""

import time
from typing import TYPE_CHECKING

from gradebook.pipelines.training.state import TrainState
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store

POLL_INTERVAL_S = 5.0


class NewImages:
    """Watches the embeddings of a run's backbone."""

    def __init__(self, store: "Store", state: TrainState):
        """Watches from now on."""
        self._store, self._backbone = store, state.config.backbone
        self._count = self._examined = store.vectors.count(self._backbone)
        self._known = set(self._embedded())
        self._next = time.monotonic() + POLL_INTERVAL_S

    def are_there(self) -> bool:
        """Returns whether there are training images that are new; False while their number is still growing."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + POLL_INTERVAL_S
        before, self._count = self._count, self._store.vectors.count(self._backbone)
        if self._count in (self._examined, 0) or self._count != before:
            return False
        self._examined = self._count
        return not self._known.issuperset(self._embedded())

    def _embedded(self) -> list[str]:
        ids = [s.sample_id for s in self._store.catalog.samples(Split.TRAIN)]
        missing = set(self._store.vectors.missing(self._backbone, ids))
        return [i for i in ids if i not in missing]
