"""The surest N images of each class, out of any number: memory for those that are kept, and for no other."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One image that is kept."""

    filepath: str
    sample_id: str
    label: str  # the class that the classifier finds likeliest
    probability: float


class Surest:
    """A heap a class, the least sure of its images on top. Of two that are equally sure the smaller id is kept."""

    def __init__(self, classes: Sequence[str], per_class: int):
        self._classes, self._per_class = classes, per_class
        self._heaps: dict[str, list[tuple[float, int, str]]] = {name: [] for name in classes}
        self._ids: set[int] = set()

    def add(self, image: Kept) -> None:
        """Takes an image in, if it is among the surest so far. Content that is there already counts once."""
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
        """Returns how many images each class has."""
        return {name: len(self._heaps[name]) for name in self._classes}

    def __iter__(self) -> Iterator[Kept]:
        """Yields what is kept, class by class, the surest first."""
        for name in self._classes:
            for probability, number, filepath in sorted(self._heaps[name], reverse=True):
                yield Kept(filepath=filepath, sample_id=f"{-number:032x}", label=name, probability=probability)
