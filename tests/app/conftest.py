"""A small project with images on disk, a run with a record, and a fake queue."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from gradebook.app.context import PageContext
from gradebook.pipelines.curation.queue_items import Row
from gradebook.pipelines.jobs import commands, launcher
from gradebook.pipelines.process.job_files import ANSWER
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import Run, append_metrics
from gradebook.storage.events import Kind, decisions, event
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.samples import Sample, Split, sample_id
from gradebook.storage.segments import segment_schema
from gradebook.storage.store import Store, memory_store, open_store
from tests.app.browser import address, browser, page  # noqa: F401 - fixtures
from tests.app.fake_component import FakeComponent

HOSTILE = "<img src=x onerror=alert(1)> **bold** [a](http://b) :red[c] $d$"
CLASSES = ["crow", "heron", HOSTILE]
TRAIN, TEST = 5, 1


@pytest.fixture(autouse=True)
def fresh_memory():
    """Clears what pages have cached of earlier projects."""
    import streamlit as st

    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture(autouse=True)
def main_module(monkeypatch):
    """Restores the main module: AppTest leaves its script there, which a later process would run again."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = memory_store(create_project(tmp_path / "birds", CLASSES))
    fill(store, tmp_path / "pictures")
    return store


@pytest.fixture
def real_store(tmp_path: Path) -> Store:
    """The same project on disk, for a server of its own."""
    store = open_store(create_project(tmp_path / "birds", CLASSES).root)
    fill(store, tmp_path / "pictures")
    return store


@pytest.fixture
def ids(store: Store) -> list[str]:
    return [sample.sample_id for sample in store.catalog.samples(Split.TRAIN)]


@pytest.fixture
def context(store: Store) -> PageContext:
    return PageContext(store, a_run(store), "ada")


@pytest.fixture
def component() -> FakeComponent:
    return FakeComponent()


@pytest.fixture
def rank() -> Callable[..., list[Row]]:
    """Replaces the queue: every unlabelled sample is predicted to be a heron."""

    def rank(store: Store, run: Run | None, *, reason: str | None = None, limit: int = 50) -> list[Row]:
        decided = decisions(store.log.read())
        waiting = [s for s in store.catalog.samples(Split.TRAIN) if s.sample_id not in decided]
        if run is not None and run.status().state is not State.FINISHED:
            raise ProjectError(f"run {run.name} has not finished")
        return [
            Row(
                sample_id=s.sample_id,
                filepath=s.filepath,
                label="heron" if run else None,
                probability=0.75 if run else None,
                reasons={"thin_margin": 0.9, "flips": 0.2} if run else {},
                score=0.9,
            )
            for s in waiting[:limit]
        ]

    return rank


def fill(store: Store, pictures: Path) -> None:
    pictures.mkdir()
    samples = []
    for n in range(TRAIN + TEST):
        path = pictures / f"{n} <b>&.png"
        Image.new("RGB", (20, 10), (40 * n, 90, 120)).save(path)
        samples.append(
            Sample(
                sample_id=sample_id(path.read_bytes()),
                filepath=str(path),
                split=Split.TRAIN if n < TRAIN else Split.TEST,
                width=20,
                height=10,
                fingerprint=bytes(200),
            )
        )
    store.catalog.add(samples, [])
    store.log.append([event(Kind.IMPORTED, samples[-1].sample_id, "crow", actor="import")])


def a_run(store: Store, name: str = "mpl-001", state: State = State.FINISHED) -> Run:
    """Makes a run in which the teacher predicts crow for every sample, then heron."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = store.project.runs / name
    (path / "record").mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"method": "mpl"}))
    write_status(path, status_now(state, pid=0, step=20, steps=20))
    for step in (10, 20):
        append_metrics(path, {"step": step, "seconds": 1.0, "student_loss": 1.0, "validation_accuracy": step / 40})
    rows = [(step, s.sample_id) for step in (10, 20) for s in store.catalog.samples(Split.TRAIN)]
    columns = {
        "step": [step for step, _ in rows],
        "sample_id": pa.array([sample for _, sample in rows]).dictionary_encode(),
        "teacher_label": [int(step == 20) for step, _ in rows],
        "teacher_probability": [0.75] * len(rows),
        "runner_up": [2] * len(rows),
        "student_label": [2] * len(rows),
        "student_probability": [0.5] * len(rows),
        "feedback": [0.001, None] * (len(rows) // 2),
        "best_label": [2] * len(rows),
        "best_gain": [0.002] * len(rows),
    }
    schema = segment_schema(store.project.classes)
    arrays = [c if isinstance(c := columns[f.name], pa.Array) else pa.array(c, f.type) for f in schema]
    pq.write_table(pa.table(arrays, schema=schema), path / "record" / "rank0-000001.parquet")
    return Run(path)


def finish(job: launcher.Job, answer: dict) -> None:
    """Ends a job and gives it the result of its command."""
    launcher.kill(job)
    while launcher.job_state(job) is launcher.JobState.RUNNING:
        time.sleep(0.01)
    (job.path / "exit").write_text("0\n")
    (job.path / ANSWER).write_text(json.dumps(answer))


@pytest.fixture
def sleeping(monkeypatch):
    """Replaces each command by a process that only waits."""
    start = commands.start
    started = []

    def asleep(project, command, **more):
        job = start(project, [sys.executable, "-c", "import time; time.sleep(60)", *command[2:]], **more)
        started.append(job)
        return job

    monkeypatch.setattr(commands, "start", asleep)
    yield started
    for job in started:
        launcher.stop(job, timeout=0)
