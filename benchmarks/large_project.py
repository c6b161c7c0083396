"""A synthetic project of any size: images, embeddings, a finished run and its record, without download or training.

The files that the app reads are as large as real ones; predictions and feedback are random.

Shape legend    N samples    K classes    D features
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gradebook.pipelines.image_cache import save_thumbnail
from gradebook.pipelines.process.run_status import State, status_now, write_status
from gradebook.pipelines.runs import Run, append_metrics
from gradebook.storage.events import Kind, event
from gradebook.storage.project import Project, create_project
from gradebook.storage.samples import File, Sample, Split, sample_id
from gradebook.storage.segments import segment_schema
from gradebook.storage.store import Store, open_store
from gradebook.storage.vectors import Space

K, D = 10, 128
BACKBONE = "drawn"
STEPS = (20, 40, 60, 80, 100, 120, 140, 160, 180, 200)  # of the record


def make_project(
    root: Path, samples: int, *, labelled: int = 300, width: int = 640, height: int = 480, seed: int = 0
) -> Store:
    """Makes a project with samples of K classes, some of them labelled, and one finished run."""
    random = np.random.default_rng(seed)
    store = open_store(create_project(root, [f"class {k}" for k in range(K)]).root)
    truth = random.integers(0, K, samples)
    images = [_write_image(store.project, n, int(truth[n]), (width, height), random) for n in range(samples)]
    files = [
        File(
            filepath=s.filepath,
            sample_id=s.sample_id,
            size=(stat := Path(s.filepath).stat()).st_size,
            mtime_ns=stat.st_mtime_ns,
        )
        for s in images
    ]
    store.catalog.add(images, files)
    names = store.project.classes
    store.log.append(
        [
            event(Kind.IMPORTED, s.sample_id, names[k], actor="import")
            for s, k in zip(images[:labelled], truth, strict=False)
        ]
    )
    store.vectors.create(Space(backbone=BACKBONE, weights="none", size=64, dim=D, weak=2, strong=1, seed=0))
    vectors = random.normal(size=(K, D))[truth][:, None] + random.normal(scale=1.5, size=(samples, 3, D))
    store.vectors.add(BACKBONE, [s.sample_id for s in images], vectors.astype(np.float16))
    write_run(store, [s.sample_id for s in images], truth, labelled, random)
    return store


def _write_image(
    project: Project, number: int, label: int, size: tuple[int, int], random: np.random.Generator
) -> Sample:
    """Writes one image, a JPEG of about 50 kB at 640 by 480 pixels."""
    folder = project.root / "pictures"
    folder.mkdir(exist_ok=True)
    coarse = random.integers(0, 256, (size[1] // 40, size[0] // 40, 3), np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    ImageDraw.Draw(image).text((20, 20), f"{number}: class {label}", fill="white", font_size=60)
    path = folder / f"{number:06}.jpg"
    image.save(path, quality=90)
    content = path.read_bytes()
    sample = sample_id(content)
    save_thumbnail(project, sample, image, len(content))  # as an import does
    return Sample(
        sample_id=sample,
        filepath=str(path),
        split=Split.TRAIN,
        width=size[0],
        height=size[1],
        fingerprint=random.bytes(200),
    )


def write_run(
    store: Store, ids: list[str], truth: NDArray[np.int64], labelled: int, random: np.random.Generator
) -> None:
    """Writes a finished run with random predictions, and its record."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = store.project.runs / "mpl-001"
    (path / "record").mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"method": "mpl", "backbone": BACKBONE}))
    (path / "samples.json").write_text(json.dumps({"sample_ids": ids}))
    names = store.project.classes
    known = {i: names[k] for i, k in zip(ids[:labelled], truth.tolist(), strict=False)}
    (path / "labels.json").write_text(json.dumps(known))
    write_status(path, status_now(State.FINISHED, pid=0, step=STEPS[-1], steps=STEPS[-1]))
    append_metrics(path, {"step": STEPS[-1], "seconds": 1.0, "student_loss": 1.0, "validation_accuracy": 0.7})
    waiting = ids[labelled:]
    logits = random.normal(size=(2, len(waiting), K)) + 2.0 * np.eye(K)[truth[labelled:]]
    teacher, student = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)
    kind = pa.list_(pa.float32())
    table = pa.table(
        {"sample_id": waiting, "teacher": pa.array(list(teacher), kind), "student": pa.array(list(student), kind)}
    )
    pq.write_table(
        table.replace_schema_metadata({b"classes": json.dumps(names).encode()}), path / "predictions.parquet"
    )
    rows = len(STEPS) * len(waiting)
    labels = np.where(random.random(rows) < 0.8, np.tile(teacher.argmax(1), len(STEPS)), random.integers(0, K, rows))
    columns = {
        "step": np.repeat(STEPS, len(waiting)),
        "sample_id": pa.array(waiting * len(STEPS)).dictionary_encode(),
        "teacher_label": labels,
        "teacher_probability": random.uniform(0.3, 1, rows),
        "runner_up": (labels + 1) % K,
        "student_label": labels,
        "student_probability": random.uniform(0.3, 1, rows),
        "feedback": random.normal(scale=1e-3, size=rows),
        "best_label": labels,
        "best_gain": random.uniform(0, 1e-3, rows),
    }
    schema = segment_schema(names)
    arrays = [c if isinstance(c := columns[f.name], pa.Array) else pa.array(c).cast(f.type) for f in schema]
    pq.write_table(pa.table(arrays, schema=schema), path / "record" / "rank0-000001.parquet")
    store.record.fold("mpl-001", Run(path).path / "record")
