"""The reasons of a run, computed when they are first needed and cached in the run's directory.

The cache is a memory-mapped Arrow table, so one column can be read without the others. It has a fingerprint of its
inputs (predictions, segments of the record, embeddings) and is computed again when they change. New labels do not
invalidate it: decided samples are left out, and labels of near-duplicates compared, on reading. The table of a live
session is replaced by the session alone, so its readers see one snapshot or the next. A table of predictions also has
the gain of each sample in a batch (`gradebook.pipelines.curation.batch_coverage`).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradebook.pipelines.curation import feature_classifier
from gradebook.pipelines.curation.batch_coverage import Coverage, compute_coverage
from gradebook.pipelines.curation.evidence import Floats, LiveEvidence, SampleEvidence, check_finished, collect_evidence
from gradebook.pipelines.curation.reason_table import DUPLICATE_DIFFERS, ReasonTable
from gradebook.pipelines.runs import PREDICTIONS, Run
from gradebook.storage.files import atomic_path, writing_cache
from gradebook.storage.samples import Split

if TYPE_CHECKING:
    from gradebook.storage.store import Store

PREDICTED, GIVEN = "reasons.arrow", "reasons_given.arrow"  # tables of the run's predictions, and of given labels
SCHEMA_VERSION = 6  # tables of other versions are computed again
METADATA = ("classes", "left_out", "covers")  # keys of the table's metadata, whose values are JSON
LIVE_GOALS = 1_000  # samples to cover, of a live session; a quarter of a finished run's, in a quarter of the time
FORMER = "former"  # another key, which older tables lack: classes that the project has no more
FINGERPRINT = b"made_of"  # key of the fingerprint in the table's metadata


def reasons(store: "Store", run: Run, given: Mapping[str, str] | None = None) -> ReasonTable:
    """Returns the reasons of a finished run's samples, cached or computed now.

    Args:
        store: the project.
        run: whose predictions.
        given: the labels in question, sample_id -> class name; None for the run's predictions.

    Raises:
        ProjectError: the run has not finished, or labels are given and there are no embeddings.
    """
    run = run.with_pinned_results()
    check_finished(run)
    if given is None and run.is_live and (snapshot := read_table(run.results / PREDICTED, None)) is not None:
        return snapshot
    store.record.fold(run.name, run.path / "record")
    path, current = run.results / (PREDICTED if given is None else GIVEN), fingerprint(store, run)
    cached = read_table(path, current)
    if cached is None or not (given is None or cached.has_labels(given)):
        table = compute_table(store, run, given).combine_chunks()
        with writing_cache():
            write_table(path, current, table)
        cached = read_table(path, current)
    return _as_reasons(table) if cached is None else cached


def fingerprint(store: "Store", run: Run) -> str:
    """Returns the fingerprint of the inputs of a run's tables, without reading them."""
    from gradebook.storage.record import digest

    stat, backbone = (run.results / PREDICTIONS).stat(), feature_classifier.backbone_of(store, run)
    vectors = f"{backbone} {store.vectors.count(backbone)}" if backbone else "-"
    segments = digest(store.record.folded(run.name))
    known = feature_classifier.classes_of(store, run).fingerprint
    return f"{_versions()} {stat.st_size} {stat.st_mtime_ns} {segments} {vectors}{known}"


def _versions() -> str:
    return f"{SCHEMA_VERSION} {feature_classifier.SCHEMA_VERSION}"


def compute_table(store: "Store", run: Run, given: Mapping[str, str] | None, live: LiveEvidence | None = None) -> Any:
    """Returns a new table of reasons, a `pyarrow.Table`; writes no cache.

    Args:
        store: the project.
        run: whose predictions.
        given: the labels in question; None for the run's predictions.
        live: of a live session, whose batches then cover `LIVE_GOALS` samples.
    """
    import pyarrow as pa

    from gradebook.mpl.reasons import doubt, score

    ids = [s.sample_id for s in store.catalog.samples(Split.TRAIN) if given is None or s.sample_id in given]
    evidence = collect_evidence(store, run, ids, given or {}, live)
    scores = score(evidence.evidence)
    doubts = doubt(scores)
    columns = _columns(evidence, scores, doubts)
    if evidence.space is not None and len(evidence.space):
        flat = pa.array(np.ascontiguousarray(evidence.space.astype(np.float16)).ravel())
        columns["space"] = pa.FixedSizeListArray.from_arrays(flat, evidence.space.shape[1])
    goals = None if live is None else LIVE_GOALS
    coverage = compute_coverage(evidence, doubts, goals) if given is None else None
    if coverage is not None:
        columns["gain"] = pa.array(coverage[1])
    metadata = {
        "classes": evidence.classes,
        "left_out": sorted(set(given or ()) - set(evidence.sample_ids)),
        "covers": None if coverage is None else asdict(coverage[0]),
        FORMER: sorted(feature_classifier.classes_of(store, run).former),
    }
    return pa.table(columns).replace_schema_metadata({k.encode(): json.dumps(v).encode() for k, v in metadata.items()})


def _columns(evidence: SampleEvidence, scores: Mapping[str, Floats], doubts: Floats) -> dict[str, Any]:
    import pyarrow as pa

    return {
        "sample_id": pa.array(evidence.sample_ids, pa.string()),
        "by_id": pa.array(np.argsort(np.array([i.encode() for i in evidence.sample_ids], np.bytes_)), pa.int32()),
        "guess": pa.array(evidence.guess, pa.int16()),
        "probability": pa.array(evidence.probability, pa.float32()),
        "label": pa.array(evidence.evidence.label, pa.int16()),
        "probe": pa.array(_most_probable(evidence.evidence.classifier), pa.int16()),
        "group": pa.array(evidence.groups, pa.int32()),
        **_duplicate_columns(evidence),
        "doubt": pa.array(doubts, pa.float32()),
        **{name: pa.array(column, pa.float32()) for name, column in scores.items() if name != DUPLICATE_DIFFERS},
    }


def _most_probable(probabilities: Floats) -> Any:
    """Returns the class (N,) with the highest probability, -1 where there is none."""
    return np.where(np.isnan(probabilities).any(1), -1, np.nan_to_num(probabilities).argmax(1))


def write_table(path: Path, fingerprint: str, table: Any) -> None:
    """Writes a table with its fingerprint."""
    import pyarrow as pa

    metadata = {**table.schema.metadata, FINGERPRINT: fingerprint.encode()}
    table = table.replace_schema_metadata(metadata).combine_chunks()
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)


def refresh(store: "Store", run: Run, live: LiveEvidence | None = None) -> None:
    """Computes the table of a run's predictions again, and replaces the cached one; `live` as in `compute_table`."""
    table = compute_table(store, run, None, live)
    write_table(run.results / PREDICTED, fingerprint(store, run), table)


def read_table(path: Path, fingerprint: str | None) -> ReasonTable | None:
    """Returns a cached table; None if there is none, or it is corrupt or has another fingerprint.

    Args:
        path: of the table.
        fingerprint: that it must have; None for any of this version.
    """
    table = open_table(path)
    if table is None:
        return None
    cached = table.schema.metadata[FINGERPRINT].decode()
    if cached != fingerprint and not (fingerprint is None and cached.startswith(f"{_versions()} ")):
        return None
    return _as_reasons(table)


def _as_reasons(table: Any) -> ReasonTable:
    classes, left_out, coverage = (json.loads(table.schema.metadata[name.encode()]) for name in METADATA)
    former = frozenset(json.loads(table.schema.metadata.get(FORMER.encode(), b"[]")))
    return ReasonTable(table, classes, frozenset(left_out), None if coverage is None else Coverage(**coverage), former)


def open_table(path: Path) -> Any | None:
    """Returns a cached table, outdated or not; None if there is none, or it is corrupt."""
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, ValueError):
        return None
    return (
        table if {FINGERPRINT, *(name.encode() for name in METADATA)} <= (table.schema.metadata or {}).keys() else None
    )


def same_content(one: Any, other: Any) -> bool:
    """Returns whether two tables have the same content up to rounding; metadata is not compared."""
    import pyarrow as pa

    if one.schema.remove_metadata() != other.schema.remove_metadata() or one.num_rows != other.num_rows:
        return False
    numbers = [field.name for field in one.schema if field.type == pa.float32()]
    rest = [name for name in one.schema.names if name not in numbers]
    return one.select(rest).equals(other.select(rest)) and all(
        np.allclose(one[name].to_numpy(), other[name].to_numpy(), atol=1e-5, equal_nan=True) for name in numbers
    )


def _duplicate_columns(evidence: SampleEvidence) -> dict[str, Any]:
    """Returns two columns of lists: each sample's near-duplicates, and the student's prediction for each of them."""
    import pyarrow as pa

    predictions = evidence.predictions
    row = {sample_id: k for k, sample_id in enumerate(evidence.sample_ids)}
    predicted = dict(zip(predictions.sample_ids, predictions.student.argmax(1).tolist(), strict=True))
    pairs = sorted((row[i], duplicate) for i, duplicate in _duplicate_pairs(evidence) if i in row)
    ends = np.cumsum(np.bincount([k for k, _ in pairs] or [0], minlength=len(row)) * bool(pairs))
    offsets = pa.array(np.concatenate([[0], ends])[: len(row) + 1], pa.int32())
    duplicates = [duplicate for _, duplicate in pairs]
    codes = pa.array([predicted.get(duplicate, -1) for duplicate in duplicates], pa.int16())
    return {
        "twins": pa.ListArray.from_arrays(offsets, pa.array(duplicates, pa.string())),
        "twin_guesses": pa.ListArray.from_arrays(offsets, codes),
    }


def _duplicate_pairs(evidence: SampleEvidence) -> Iterator[tuple[str, str]]:
    """Yields every pair of near-duplicates in both directions."""
    if evidence.classifier is None:
        return
    ids, duplicate_of = evidence.classifier.sample_ids, evidence.classifier.duplicate_of
    later = np.flatnonzero(duplicate_of >= 0)
    for one, other in zip(ids[later].tolist(), ids[duplicate_of[later]].tolist(), strict=True):
        yield one, other
        yield other, one
