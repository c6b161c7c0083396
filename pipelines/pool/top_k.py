"""The N most probable images of each class of a stream, in memory proportional to N."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredImage:
    """An image and what the classifier predicts for it."""

    filepath: str
    sample_id: str
    label: str  # the most probable class
    probability: float


class TopK:
    """A heap for each class, with the least probable image on top. With equal probabilities the smaller id wins."""

    def __init__(self, classes: Sequence[str], per_class: int):
        self._classes, self._per_class = classes, per_class
        self._heaps: dict[str, list[tuple[float, int, str]]] = {name: [] for name in classes}
        self._ids: set[int] = set()

    def add(self, image: ScoredImage) -> None:
        """Adds an image if it is among the most probable so far. The same content is added only once."""
        number = -int(image.sample_id, 16)  # negative, so that the smaller id is the larger number
        if number in self._ids:
            return
        heap, entry = self._heaps[image.label], (image.probability, number, image.filepath)
        if len(heap) < self._per_class:
            heapq.heappush(heap, entry)
        elif entry > heap[0]:
            self._ids.discard(heapq.heapreplace(heap, entry)[1])
        else:
            return
        self._ids.add(number)

    def counts(self) -> dict[str, int]:
        """Returns the number of images of each class."""
        return {name: len(self._heaps[name]) for name in self._classes}

    def __iter__(self) -> Iterator[ScoredImage]:
        """Yields the images class by class, the most probable first."""
        for name in self._classes:
            for probability, number, filepath in sorted(self._heaps[name], reverse=True):
                yield ScoredImage(filepath=filepath, sample_id=f"{-number:032x}", label=name, probability=probability)
