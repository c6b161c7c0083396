"""What an import finds wrong with the quality of images: sample_id -> problem -> score, rows that are only added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gradebook.storage.lance_tables import Tables

TABLE = "quality"
Flags = Mapping[str, Mapping[str, float]]  # sample_id -> problem -> score in [0, 1], of images with a problem


@dataclass(frozen=True, slots=True)
class Flag:
    """One problem of one sample."""

    sample_id: str
    problem: str
    score: float  # in [0, 1], 0.5 at the threshold of the problem


class Quality(Protocol):
    """The interface of stores of quality problems."""

    def add(self, flags: Sequence[Flag]) -> None:
        """Adds problems; of one that a sample has already, the new score counts."""

    def read(self) -> Flags:
        """Returns all problems."""


class MemoryQuality:
    """Quality problems in memory."""

    def __init__(self) -> None:
        self._flags: list[Flag] = []

    def add(self, flags: Sequence[Flag]) -> None:
        """See `Quality.add`."""
        self._flags = [*self._flags, *flags]

    def read(self) -> Flags:
        """See `Quality.read`."""
        return _by_sample(self._flags)


class LanceQuality:
    """Quality problems in the LanceDB table `quality`, cached until it changes."""

    def __init__(self, directory: Path, address: str = ""):
        self._tables = Tables(directory, address)
        self._cached: tuple[str | None, Flags] = None, {}

    def add(self, flags: Sequence[Flag]) -> None:
        """See `Quality.add`."""
        import pyarrow as pa

        if not flags:
            return
        columns = {name: [getattr(flag, name) for flag in flags] for name in _schema().names}
        with self._tables.open_for_writing(TABLE, _schema()) as table:
            table.add(pa.Table.from_pydict(columns, _schema()))

    def read(self) -> Flags:
        """See `Quality.read`."""
        stamp = self._tables.stamp((TABLE,))
        if stamp is None or stamp != self._cached[0]:
            rows = self._tables.read(TABLE, _schema().names)
            self._cached = stamp, {} if rows is None else _by_sample([Flag(**row) for row in rows.to_pylist()])
        return self._cached[1]


def _by_sample(flags: Sequence[Flag]) -> dict[str, dict[str, float]]:
    by_sample: dict[str, dict[str, float]] = {}
    for flag in flags:
        by_sample.setdefault(flag.sample_id, {})[flag.problem] = flag.score
    return by_sample


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema({"sample_id": pa.string(), "problem": pa.string(), "score": pa.float64()})
