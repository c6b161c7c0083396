"""The record as pages read it: by sample, or summed up once until a run has recorded more."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from gradebook.app.context import Desk, fold, read_book
from gradebook.pipelines.reporting import training_dynamics
from gradebook.pipelines.reporting.training_dynamics import Table
from gradebook.pipelines.runs import Run, list_runs
from gradebook.storage.label_snapshots import LabelSnapshots
from gradebook.storage.segments import segments_in
from gradebook.storage.store import Store


def read_histories(desk: Desk, sample_id: str) -> dict[str, list[dict[str, Any]]]:
    """Returns the record of one sample in every run: run -> rows in order of steps."""
    for run in list_runs(desk.store.project):
        fold(desk, run.name)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in desk.store.record.history(sample_id):
        found.setdefault(row["run"], []).append(row)
    return found


def read_rows(desk: Desk, sample_ids: Sequence[str]) -> Any:
    """Returns the rows of some samples in the desk's run, which there must be, as a `pyarrow.Table`."""
    assert desk.run is not None
    fold(desk, desk.run.name)
    return desk.store.record.histories(sample_ids, desk.run.name)


def read_flow(desk: Desk) -> LabelSnapshots | None:
    """Returns `gradebook.pipelines.reporting.training_dynamics.flow` of the desk's run, which there must be."""
    assert desk.run is not None
    return _flow(desk.root, desk.run.name, _version(desk.run), desk.run)


def read_table(desk: Desk, rows: str, columns: str) -> Table:
    """Returns `gradebook.pipelines.reporting.training_dynamics.against` for the desk's run, which there must be, and
    the labels as they are.
    """
    assert desk.run is not None
    labelled = desk.store.log.version() if "label" in (rows, columns) else 0
    version = (_version(desk.run), labelled)
    return _table(desk.root, desk.run.name, version, rows, columns, desk.store, desk.run)


def _version(run: Run) -> str:
    return "\n".join(segments_in(run.path / "record") or {})


@st.cache_resource(max_entries=4, show_spinner="Reading what the run recorded")
def _flow(root: str, run: str, version: str, _run: Run) -> LabelSnapshots | None:
    return training_dynamics.flow(_run)


@st.cache_resource(max_entries=4, show_spinner="Reading what the run recorded")
def _signals(root: str, run: str, version: str, _store: Store, _run: Run) -> Any:
    _store.record.fold(run, _run.path / "record")
    return _store.record.dynamics(run).select(["sample_id", "teacher_label", "student_label"])


@st.cache_resource(max_entries=12, show_spinner=False)
def _table(root: str, run: str, version: tuple[str, int], rows: str, columns: str, _store: Store, _run: Run) -> Table:
    labels: Mapping[str, str] = read_book(_store).labels if "label" in (rows, columns) else {}
    signals = _signals(root, run, version[0], _store, _run)
    return training_dynamics.against(signals, rows, columns, labels, _store.project.classes)
