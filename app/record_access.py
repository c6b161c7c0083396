"""The record of training as pages read it: one sample's rows, or summaries cached until a run has recorded more."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from gradebook.app.data_access import LABEL_COLUMNS, known_classes, read_events, update_record, with_present_names
from gradebook.pipelines.reporting import training_dynamics
from gradebook.pipelines.reporting.training_dynamics import CrossTable
from gradebook.pipelines.runs import Run, list_runs
from gradebook.storage.label_snapshots import LabelSnapshots
from gradebook.storage.run_classes import RunClasses
from gradebook.storage.segments import segments_in
from gradebook.storage.store import Store


def histories_by_run(store: Store, sample_id: str) -> dict[str, list[dict[str, Any]]]:
    """Returns the record of one sample in every run: run -> rows in the order of their steps."""
    for run in list_runs(store.project):
        update_record(store, run.name)
    histories: dict[str, list[dict[str, Any]]] = {}
    for row in store.record.history(sample_id):
        histories.setdefault(row["run"], []).append(row)
    return {run: with_present_names(store, Run(store.project.runs / run), rows) for run, rows in histories.items()}


def read_histories(store: Store, run: Run, sample_ids: Sequence[str]) -> Any:
    """Returns the record of several samples in a run, as a `pyarrow.Table`."""
    update_record(store, run.name)
    return _renamed(store.record.histories(sample_ids, run.name), known_classes(store, run))


def label_snapshots(store: Store, run: Run) -> LabelSnapshots | None:
    """Returns `training_dynamics.read_label_flow` of a run."""
    version = (_record_version(run), store.project.history.newest)
    return _snapshots(str(store.project.root), run.name, version, run, store)


def cross_table(store: Store, run: Run, rows: str, columns: str) -> CrossTable:
    """Returns `training_dynamics.cross_tabulate` for a run and the current labels."""
    log_version = store.log.version() if "label" in (rows, columns) else 0
    version = (_record_version(run), log_version, store.project.history.newest)
    return _cross_table(str(store.project.root), run.name, version, rows, columns, store, run)


def _record_version(run: Run) -> str:
    return "\n".join(segments_in(run.path / "record") or {})


@st.cache_resource(max_entries=4, show_spinner="Reading the run's record")
def _snapshots(root: str, run: str, version: Any, _run: Run, _store: Store) -> LabelSnapshots | None:
    snapshots, known = training_dynamics.read_label_flow(_run), known_classes(_store, _run)
    if snapshots is None or not known.have_changed:
        return snapshots
    names = [known.rename(name) or name for name in snapshots.classes]
    distinct = list(dict.fromkeys(names))
    code = np.array([*(distinct.index(name) for name in names), -1], np.int16)  # the last entry serves label -1
    teacher, student = code[snapshots.teacher], code[snapshots.student]
    return replace(snapshots, classes=distinct, teacher=teacher, student=student)


@st.cache_resource(max_entries=4, show_spinner="Reading the run's record")
def _final_labels(root: str, run: str, version: str, _store: Store, _run: Run) -> Any:
    _store.record.fold(run, _run.path / "record")
    return _store.record.dynamics(run).select(["sample_id", "teacher_label", "student_label"])


@st.cache_resource(max_entries=12, show_spinner=False)
def _cross_table(
    root: str, run: str, version: tuple[str, int, str | None], rows: str, columns: str, _store: Store, _run: Run
) -> CrossTable:
    labels: Mapping[str, str] = read_events(_store).labels if "label" in (rows, columns) else {}
    final = _renamed(_final_labels(root, run, version[0], _store, _run), known_classes(_store, _run))
    return training_dynamics.cross_tabulate(final, rows, columns, labels, _store.project.classes)


def _renamed(table: Any, class_map: RunClasses) -> Any:
    """Returns a table of the record, a `pyarrow.Table`, with the present names of a run's classes."""
    import pyarrow as pa

    if not class_map.have_changed:
        return table
    for name in [name for name in LABEL_COLUMNS if name in table.column_names]:
        labels = [class_map.rename(label) for label in table[name].to_pylist()]
        table = table.set_column(table.column_names.index(name), name, pa.array(labels, pa.string()))
    return table
