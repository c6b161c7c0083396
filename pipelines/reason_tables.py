"""A run's reasons, worked out when first asked for and kept beside the run: a column is read without the others.

A table is an Arrow file that is mapped into memory, written whole and then renamed. It says what it was made of:
predictions, segments of the record, vectors; where one of them has changed it is made again. What labels change needs
no new table: who reads it leaves out what is decided, and labels of near-duplicates are compared then.

Shape legend    N samples of the table    P pairs of near-duplicates    d of the space
"""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines import readings
from pipelines.evidence import Known, finished, known
from pipelines.runs import PREDICTIONS, Run
from storage.samples import Split

if TYPE_CHECKING:
    from storage.store import Store

GUESSED, GIVEN = "reasons.arrow", "reasons_given.arrow"  # of samples without a label when the run began; with one
FORM = 1  # counts the ways in which tables were made: older ones are made again
LIVE = "twin_differs"  # the reason that is worked out when it is read, for labels change it

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reasons:
    """A table of reasons."""

    table: Any  # pyarrow.Table
    classes: list[str]
    left_out: frozenset[str]  # samples with a given label of which the run has no opinion

    def scores(self, reason: str | None, labels: Mapping[str, str]) -> Scores:
        """Returns (N,) scores of a reason, or of the default order; -1 where it says nothing.

        Args:
            reason: its name; None for the default order.
            labels: sample_id -> class name, as they are now.
        """
        found = self._twins_differ(self.table, labels) if reason == LIVE else self._numbers(reason or "doubt")
        return np.nan_to_num(found, nan=-1.0)

    def places(self, sample_ids: Collection[str]) -> NDArray[np.int64]:
        """Returns where these samples, each once, stand in the table (n,), -1 for those that do not."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.index_in(self.table["sample_id"], value_set=pa.array(list(sample_ids), pa.string()))
        there = np.flatnonzero(found.is_valid().to_numpy())
        out = np.full(len(sample_ids), -1, np.int64)
        out[found.drop_null().to_numpy()] = there
        return out

    def ids(self, places: NDArray[np.int64]) -> list[str]:
        """Returns the samples at these places."""
        return list(self._taken("sample_id", places).to_pylist())

    def rows(self, places: NDArray[np.int64], labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Returns of each place label (a class name), probability, and the reasons that say something."""
        import pyarrow as pa

        from mpl.reasons import REASONS

        some = self.table.take(pa.array(places))
        columns = {name: some[name].to_numpy() for name in REASONS if name != LIVE}
        columns[LIVE] = self._twins_differ(some, labels)
        guess, probability = some["guess"].to_pylist(), some["probability"].to_pylist()
        return [
            {
                "label": self.classes[guess[k]],
                "probability": round(probability[k], 4),
                "reasons": {n: round(float(columns[n][k]), 4) for n in REASONS if not np.isnan(columns[n][k])},
            }
            for k in range(len(places))
        ]

    def groups(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns numbers which near-duplicates share."""
        return np.asarray(self._taken("group", places).to_numpy(), np.int64)

    def guesses(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the places of the guesses in `classes`."""
        return np.asarray(self._taken("guess", places).to_numpy(), np.int64)

    def those(self, label: str | None, least: float, most: float) -> NDArray[np.int64]:
        """Returns the places of the guesses of a class, or of any, with a probability in [least, most]."""
        probability = self._numbers("probability").round(4)
        chosen = (probability >= np.float32(least)) & (probability <= np.float32(most))
        if label is not None:
            chosen &= self.table["guess"].to_numpy() == (self.classes.index(label) if label in self.classes else -1)
        return np.flatnonzero(chosen)

    def space(self, places: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Returns (n, d) where these samples lie, None where one of the table's has no vectors."""
        if "space" not in self.table.schema.names:
            return None
        found = self._taken("space", places).combine_chunks()
        return np.asarray(found.flatten().to_numpy().reshape(len(places), -1), np.float32)

    def holds(self, given: Mapping[str, str]) -> bool:
        """Returns whether every sample is there with the label that it has been given, or can have no reasons."""
        index = {name: k for k, name in enumerate(self.classes)}
        there = {i: index.get(name, -1) for i, name in given.items() if i not in self.left_out}
        places = self.places(there)
        labels = self._taken("label", places[places >= 0]).to_numpy()
        return len(labels) == len(there) and bool((labels == np.array(list(there.values()), np.int64)).all())

    def labels(self) -> dict[str, str]:
        """Returns the labels in question of a table of given ones, by sample."""
        label = self.table["label"].to_pylist()
        return {i: self.classes[k] for i, k in zip(self.table["sample_id"].to_pylist(), label, strict=True) if k >= 0}

    def _taken(self, name: str, places: NDArray[np.int64]) -> Any:
        import pyarrow as pa

        return self.table[name].take(pa.array(places))

    def _numbers(self, name: str) -> Scores:
        return np.asarray(self.table[name].to_numpy(), np.float32)

    def _twins_differ(self, rows: Any, labels: Mapping[str, str]) -> Scores:
        """Returns `mpl.reasons.twin_differs` of some rows (n,): a near-duplicate's label counts before its guess."""
        import pyarrow as pa
        import pyarrow.compute as pc

        index = {name: k for k, name in enumerate(self.classes)}
        twins = rows["twins"].combine_chunks()
        names, own = twins.flatten(), rows["label"].to_numpy()
        said = np.asarray(rows["twin_guesses"].combine_chunks().flatten().to_numpy(), np.int64).copy()
        codes = np.array([index.get(name, -1) for name in labels.values()] + [-1], np.int64)
        at = pc.index_in(names, value_set=pa.array(list(labels), pa.string()))
        labelled = at.is_valid().to_numpy(zero_copy_only=False)
        said[labelled] = codes[at.fill_null(-1).to_numpy()[labelled]]
        parents = pc.list_parent_indices(twins).to_numpy()
        spoken = (said >= 0) & (own[parents] >= 0)
        out = np.full(len(own), np.nan, np.float32)
        out[parents[spoken]] = 0
        out[parents[spoken & (said != own[parents])]] = 1
        return out


def reasons(store: "Store", run: Run, given: Mapping[str, str] | None = None) -> Reasons:
    """Returns the reasons of a finished run's samples, kept or made now.

    Args:
        store: the project.
        run: whose opinions.
        given: the labels in question, sample_id -> class name; None for the run's guesses.

    Raises:
        ProjectError: the run has not finished, or given labels are asked about and there are no vectors.
    """
    finished(run)
    store.record.fold(run.name, run.path / "record")
    path, of = run.path / (GUESSED if given is None else GIVEN), made_of(store, run)
    kept = read(path, of)
    if kept is None or not (given is None or kept.holds(given)):
        write(path, of, worked_out(store, run, given))
        kept = read(path, of)
        assert kept is not None
    return kept


def made_of(store: "Store", run: Run) -> str:
    """Returns what a run's tables are made of, without reading it."""
    from storage.record import digest

    stat, backbone = (run.path / PREDICTIONS).stat(), readings.backbone_of(store, run)
    vectors = f"{backbone} {store.vectors.count(backbone)}" if backbone else "-"
    said = digest(store.record.folded(run.name))
    return f"{FORM} {readings.FORM} {stat.st_size} {stat.st_mtime_ns} {said} {vectors}"


def worked_out(store: "Store", run: Run, given: Mapping[str, str] | None) -> Any:
    """Returns a table of reasons, made anew; keeps nothing."""
    import pyarrow as pa

    from mpl import reasons as of

    ids = [s.sample_id for s in store.catalog.samples(Split.TRAIN) if given is None or s.sample_id in given]
    found = known(store, run, ids, given or {})
    columns = of.score(found.evidence)
    plain = {
        "sample_id": pa.array(found.sample_ids, pa.string()),
        "guess": pa.array(found.guess, pa.int16()),
        "probability": pa.array(found.probability, pa.float32()),
        "label": pa.array(found.evidence.label, pa.int16()),
        "group": pa.array(found.groups, pa.int32()),
        **_twins(found),
        "doubt": pa.array(of.doubt(columns), pa.float32()),
        **{name: pa.array(column, pa.float32()) for name, column in columns.items() if name != LIVE},
    }
    if found.space is not None and len(found.space):
        flat = pa.array(np.ascontiguousarray(found.space.astype(np.float16)).ravel())
        plain["space"] = pa.FixedSizeListArray.from_arrays(flat, found.space.shape[1])
    told = {"classes": found.classes, "left_out": sorted(set(given or ()) - set(found.sample_ids))}
    return pa.table(plain).replace_schema_metadata({name.encode(): json.dumps(told[name]).encode() for name in told})


def write(path: Path, of: str, table: Any) -> None:
    """Keeps a table, whole or not at all."""
    import pyarrow as pa

    metadata = {**table.schema.metadata, b"made_of": of.encode()}
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with pa.OSFile(str(draft), "wb") as file, pa.ipc.new_file(file, table.schema.with_metadata(metadata)) as writer:
        writer.write_table(table.replace_schema_metadata(metadata).combine_chunks())
    draft.replace(path)


def read(path: Path, of: str) -> Reasons | None:
    """Returns a table that is kept, unless it was made of something else, or is torn."""
    table = opened(path)
    if table is None or table.schema.metadata[b"made_of"].decode() != of:
        return None
    told = table.schema.metadata
    return Reasons(table, json.loads(told[b"classes"]), frozenset(json.loads(told[b"left_out"])))


def opened(path: Path) -> Any | None:
    """Returns a table of any age, None where it is not there or torn."""
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, ValueError):
        return None
    return table if {b"made_of", b"classes", b"left_out"} <= (table.schema.metadata or {}).keys() else None


def same(one: Any, other: Any) -> bool:
    """Returns whether two tables say the same: numbers but for rounding, whatever they were made of."""
    import pyarrow as pa

    if one.schema.remove_metadata() != other.schema.remove_metadata() or one.num_rows != other.num_rows:
        return False
    numbers = [field.name for field in one.schema if field.type == pa.float32()]
    rest = [name for name in one.schema.names if name not in numbers]
    return one.select(rest).equals(other.select(rest)) and all(
        np.allclose(one[name].to_numpy(), other[name].to_numpy(), atol=1e-5, equal_nan=True) for name in numbers
    )


def _twins(found: Known) -> dict[str, Any]:
    """Returns every sample's near-duplicates, which may stand anywhere, and what the student takes each for."""
    import pyarrow as pa

    thought, kept = found.thought, found.read
    place = {sample_id: k for k, sample_id in enumerate(found.sample_ids)}
    guesses = dict(zip(thought.sample_ids, thought.student.argmax(1).tolist(), strict=True))
    later = np.flatnonzero(kept.twins >= 0) if kept is not None else np.empty(0, np.int64)
    pairs: list[tuple[int, str]] = []
    for one, other in zip(kept.sample_ids[later], kept.sample_ids[kept.twins[later]], strict=True) if kept else ():
        for mine, its in ((str(one), str(other)), (str(other), str(one))):
            if mine in place:
                pairs.append((place[mine], its))
    pairs.sort()
    ends = np.cumsum(np.bincount([k for k, _ in pairs] or [0], minlength=len(place)) * bool(pairs))
    offsets = pa.array(np.concatenate([[0], ends])[: len(place) + 1], pa.int32())
    return {
        "twins": pa.ListArray.from_arrays(offsets, pa.array([its for _, its in pairs], pa.string())),
        "twin_guesses": pa.ListArray.from_arrays(
            offsets, pa.array([guesses.get(its, -1) for _, its in pairs], pa.int16())
        ),
    }
