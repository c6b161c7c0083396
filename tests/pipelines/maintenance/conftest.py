"""A sound project with six images and two runs, to be broken."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gradebook.pipelines import runs
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.storage.events import Kind, event
from gradebook.storage.project import create_project
from gradebook.storage.segments import RECORDED, segment_schema
from gradebook.storage.store import Store, open_store
from gradebook.storage.vectors import Space

SPACE = Space(backbone="tiny", weights="none", size=8, dim=4, weak=2, strong=1, seed=0)
IMAGES = 6


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """A project with six images, two of them labelled, vectors, a run that finished and one that was stopped."""
    root = tmp_path_factory.mktemp("verify")
    for n in range(IMAGES):
        path = root / "images" / ("cat" if n < 2 else "") / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    store = open_store(create_project(root / "project", ["cat", "dog"]).root)
    import_images(store, root / "images")
    ids = [s.sample_id for s in store.catalog.samples()]
    store.log.append([event(Kind.IMPORTED, i, "cat", actor="import") for i in ids[-2:]])
    store.vectors.create(SPACE)
    store.vectors.add("tiny", ids, np.ones((IMAGES, 3, 4), np.float16))
    for name, state in (("one", State.FINISHED), ("two", State.STOPPED)):
        begin_run(store, name, state, ids)
        store.record.fold(name, store.project.runs / name / "record")
        store.record.dynamics(name)
    return root


def begin_run(store: Store, name: str, state: State, ids: list[str]) -> None:
    """Writes what a training of four steps leaves: it records and checkpoints every other one."""
    path = store.project.runs / name
    (path / "record").mkdir(parents=True)
    config = {"classes": ["cat", "dog"], "processes": 1, "record_every": 2, "steps": 4, "method": "mpl"}
    (path / runs.CONFIG).write_text(json.dumps(config))
    (path / "samples.json").write_text(json.dumps({"sample_ids": ids, "validation": []}))
    (path / runs.LABELS).write_text(json.dumps(dict.fromkeys(ids[-2:], "cat")))
    for step in (2, 4):
        rows = [{"step": step, "sample_id": i, **dict.fromkeys(RECORDED), "teacher_label": 0} for i in ids[:4]]
        pq.write_table(
            pa.Table.from_pylist(rows, segment_schema(["cat", "dog"])), path / f"record/rank0-{step // 2:06}.parquet"
        )
        checkpoint = path / f"checkpoints/step-{step:06}"
        checkpoint.mkdir(parents=True)
        for file in ("state.pt", "process-0.pt"):
            with zipfile.ZipFile(checkpoint / file, "w") as archive:
                archive.writestr("weights", b"1234" * 100)
        sizes = {file.name: file.stat().st_size for file in checkpoint.iterdir()}
        (checkpoint / "checkpoint.json").write_text(json.dumps(sizes))
    even = [[0.5, 0.5]] * 4
    predictions = pa.table({"sample_id": ids[:4], "student": even, "teacher": even})
    metadata = {"classes": json.dumps(["cat", "dog"])}
    pq.write_table(predictions.replace_schema_metadata(metadata), path / runs.PREDICTIONS)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (path / "student.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    write_status(path, status_now(state, pid=0, step=4, steps=4))


@pytest.fixture
def root(template, tmp_path) -> Path:
    """A copy of it; the images are the template's own, and are put back."""
    shutil.copytree(template / "project", tmp_path / "project")
    return tmp_path / "project"
