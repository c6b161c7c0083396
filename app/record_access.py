"""The record of training as pages read it: one sample's rows, or summaries cached until a run has recorded more."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from gradebook.app.data_access import read_events, update_record
from gradebook.pipelines.reporting import training_dynamics
from gradebook.pipelines.reporting.training_dynamics import CrossTable
from gradebook.pipelines.runs import Run, list_runs
from gradebook.storage.label_snapshots import LabelSnapshots
from gradebook.storage.segments import segments_in
from gradebook.storage.store import Store


def histories_by_run(store: Store, sample_id: str) -> dict[str, list[dict[str, Any]]]:
    """Returns the record of one sample in every run: run -> rows in the order of their steps."""
    for run in list_runs(store.project):
        update_record(store, run.name)
    histories: dict[str, list[dict[str, Any]]] = {}
    for row in store.record.history(sample_id):
        histories.setdefault(row["run"], []).append(row)
    return histories


def read_histories(store: Store, run: Run, sample_ids: Sequence[str]) -> Any:
    """Returns the record of several samples in a run, as a `pyarrow.Table`."""
    update_record(store, run.name)
    return store.record.histories(sample_ids, run.name)


def label_snapshots(store: Store, run: Run) -> LabelSnapshots | None:
    """Returns `training_dynamics.read_label_flow` of a run."""
    return _snapshots(str(store.project.root), run.name, _record_version(run), run)


def cross_table(store: Store, run: Run, rows: str, columns: str) -> CrossTable:
    """Returns `training_dynamics.cross_tabulate` for a run and the current labels."""
    log_version = store.log.version() if "label" in (rows, columns) else 0
    version = (_record_version(run), log_version)
    return _cross_table(str(store.project.root), run.name, version, rows, columns, store, run)


def _record_version(run: Run) -> str:
    return "\n".join(segments_in(run.path / "record") or {})


@st.cache_resource(max_entries=4, show_spinner="Reading the run's record")
def _snapshots(root: str, run: str, version: str, _run: Run) -> LabelSnapshots | None:
    return training_dynamics.read_label_flow(_run)


@st.cache_resource(max_entries=4, show_spinner="Reading the run's record")
def _final_labels(root: str, run: str, version: str, _store: Store, _run: Run) -> Any:
    _store.record.fold(run, _run.path / "record")
    return _store.record.dynamics(run).select(["sample_id", "teacher_label", "student_label"])


@st.cache_resource(max_entries=12, show_spinner=False)
def _cross_table(
    root: str, run: str, version: tuple[str, int], rows: str, columns: str, _store: Store, _run: Run
) -> CrossTable:
    labels: Mapping[str, str] = read_events(_store).labels if "label" in (rows, columns) else {}
    final = _final_labels(root, run, version[0], _store, _run)
    return training_dynamics.cross_tabulate(final, rows, columns, labels, _store.project.classes)
