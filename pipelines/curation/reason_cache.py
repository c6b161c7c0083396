"""A run's reasons, worked out when first asked for and kept beside the run: a column is read without the others.

A table is an Arrow file that is mapped into memory, written whole and then renamed. It says what it was made of:
predictions, segments of the record, vectors; where one of them has changed it is made again. What labels change needs
no new table: who reads it leaves out what is decided, and labels of near-duplicates are compared then. Of guesses it
has too what each sample would cover (`gradebook.pipelines.curation.batch_coverage`).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradebook.pipelines.curation import feature_classifier
from gradebook.pipelines.curation.batch_coverage import Covers, covers
from gradebook.pipelines.curation.evidence import SampleEvidence, check_finished, collect_evidence
from gradebook.pipelines.curation.reason_table import LIVE, Reasons
from gradebook.pipelines.runs import PREDICTIONS, Run
from gradebook.storage.files import atomic_path
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store

GUESSED, GIVEN = "reasons.arrow", "reasons_given.arrow"  # of samples without a label when the run began; with one
SCHEMA_VERSION = 4  # tables of other versions are computed again
TOLD = ("classes", "left_out", "covers")  # beside the columns, as JSON


def reasons(store: "Store", run: Run, given: Mapping[str, str] | None = None) -> Reasons:
    """Returns the reasons of a finished run's samples, kept or made now.

    Args:
        store: the project.
        run: whose opinions.
        given: the labels in question, sample_id -> class name; None for the run's guesses.

    Raises:
        ProjectError: the run has not finished, or given labels are asked about and there are no vectors.
    """
    check_finished(run)
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
    from gradebook.storage.record import digest

    stat, backbone = (run.path / PREDICTIONS).stat(), feature_classifier.backbone_of(store, run)
    vectors = f"{backbone} {store.vectors.count(backbone)}" if backbone else "-"
    said = digest(store.record.folded(run.name))
    return f"{SCHEMA_VERSION} {feature_classifier.SCHEMA_VERSION} {stat.st_size} {stat.st_mtime_ns} {said} {vectors}"


def worked_out(store: "Store", run: Run, given: Mapping[str, str] | None) -> Any:
    """Returns a table of reasons, made anew; keeps nothing."""
    import pyarrow as pa

    from gradebook.mpl import reasons as of

    ids = [s.sample_id for s in store.catalog.samples(Split.TRAIN) if given is None or s.sample_id in given]
    found = collect_evidence(store, run, ids, given or {})
    columns = of.score(found.evidence)
    plain = {
        "sample_id": pa.array(found.sample_ids, pa.string()),
        "by_id": pa.array(np.argsort(np.array([i.encode() for i in found.sample_ids], np.bytes_)), pa.int32()),
        "guess": pa.array(found.guess, pa.int16()),
        "probability": pa.array(found.probability, pa.float32()),
        "label": pa.array(found.evidence.label, pa.int16()),
        "group": pa.array(found.groups, pa.int32()),
        **_twins(found),
        "doubt": pa.array(of.doubt(columns), pa.float32()),
        **{name: pa.array(column, pa.float32()) for name, column in columns.items() if name != LIVE},
    }
    what = covers(found, of.doubt(columns)) if given is None else None
    if found.space is not None and len(found.space):
        flat = pa.array(np.ascontiguousarray(found.space.astype(np.float16)).ravel())
        plain["space"] = pa.FixedSizeListArray.from_arrays(flat, found.space.shape[1])
    if what is not None:
        plain["gain"] = pa.array(what[1])
    told = {
        "classes": found.classes,
        "left_out": sorted(set(given or ()) - set(found.sample_ids)),
        "covers": None if what is None else asdict(what[0]),
    }
    return pa.table(plain).replace_schema_metadata({name.encode(): json.dumps(told[name]).encode() for name in told})


def write(path: Path, of: str, table: Any) -> None:
    """Keeps a table, whole or not at all."""
    import pyarrow as pa

    metadata = {**table.schema.metadata, b"made_of": of.encode()}
    table = table.replace_schema_metadata(metadata).combine_chunks()
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)


def read(path: Path, of: str) -> Reasons | None:
    """Returns a table that is kept, unless it was made of something else, or is torn."""
    table = opened(path)
    if table is None or table.schema.metadata[b"made_of"].decode() != of:
        return None
    told = {name: json.loads(table.schema.metadata[name.encode()]) for name in TOLD}
    what = told["covers"]
    return Reasons(table, told["classes"], frozenset(told["left_out"]), None if what is None else Covers(**what))


def opened(path: Path) -> Any | None:
    """Returns a table of any age, None where it is not there or torn."""
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, ValueError):
        return None
    return table if {b"made_of", *(name.encode() for name in TOLD)} <= (table.schema.metadata or {}).keys() else None


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


def _twins(found: SampleEvidence) -> dict[str, Any]:
    """Returns every sample's near-duplicates, which may stand anywhere, and what the student takes each for."""
    import pyarrow as pa

    thought, kept = found.predictions, found.classifier
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
