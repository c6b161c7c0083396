"""Measures time and memory of a training with the preset `quick`, on synthetic vectors.

    python -m benchmarks.quick --samples 10000 100000 --cores 2

Makes a project with 100 labels of ten classes and five views of 1,280 features per sample, then runs each training in a
new process. "Training" is the time that the trainer reports: its steps and the final predictions, without start-up and
reading. Memory is the peak of the process. Times of different machines cannot be compared.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradebook.pipelines.studies.command_line import footer

K, D, WEAK, STRONG, LABELLED = 10, 1280, 2, 3, 100
WRITE_BATCH = 5000  # samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    """Options of the benchmark."""

    samples: tuple[int, ...] = (10_000, 100_000)
    """Numbers of samples; each gives a row of the table."""
    cores: int = 2
    """CPU cores."""
    rounds: int = 3
    """Trainings for each number of samples."""
    method: str = "mpl"
    """Training method."""
    steps: int = 600
    """Steps of each training; a few are enough to measure memory."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(Quick, args=given, prog="python -m benchmarks.quick", description=__doc__)
    rows = []
    for samples in options.samples:
        with tempfile.TemporaryDirectory() as directory:
            project = Path(directory) / "project"
            make(project, samples)
            results = [train(project, options, number) for number in range(options.rounds)]
        training, whole, cpu, memory = (statistics.median(row[k] for row in results) for k in range(4))
        rows.append(f"| {samples:,} | {training:.1f} | {whole:.1f} | {cpu:.1f} | {memory / 1e9:.2f} |")
    print(f"""
| samples | training, s | whole process, s | CPU-seconds | memory, GB |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{footer("-m benchmarks.quick", given)}
""")
    return 0


def make(root: Path, samples: int) -> None:
    """Makes the project, in another process so that its memory is not counted."""
    subprocess.run(
        [sys.executable, "-c", f"from benchmarks.quick import _make; _make({str(root)!r}, {samples})"], check=True
    )


def _make(root: str, samples: int) -> None:
    from gradebook.storage.events import Kind, event
    from gradebook.storage.project import create_project
    from gradebook.storage.samples import Sample, Split, sample_id
    from gradebook.storage.store import open_store
    from gradebook.storage.vectors import Space

    random = np.random.default_rng(0)
    store = open_store(create_project(Path(root), [f"class {k}" for k in range(K)]).root)
    rows = [
        Sample(
            sample_id=sample_id(str(n).encode()),
            filepath=f"{root}/{n}.png",
            split=Split.TRAIN,
            width=64,
            height=64,
            fingerprint=np.random.default_rng(n).bytes(200),
        )
        for n in range(samples)
    ]
    store.catalog.add(rows, [])
    store.log.append(
        [event(Kind.IMPORTED, s.sample_id, f"class {n % K}", actor="import") for n, s in enumerate(rows[:LABELLED])]
    )
    backbone = "tf_efficientnet_lite0"
    store.vectors.create(Space(backbone=backbone, weights="none", size=64, dim=D, weak=WEAK, strong=STRONG, seed=0))
    centres = random.standard_normal((K, 1, D), np.float32)
    for start in range(0, samples, WRITE_BATCH):
        part = np.arange(start, min(start + WRITE_BATCH, samples))
        views = centres[part % K] + random.standard_normal((len(part), WEAK + STRONG, D), np.float32)
        store.vectors.add(backbone, [rows[n].sample_id for n in part], views.astype(np.float16))


def train(project: Path, options: Quick, number: int) -> tuple[float, float, float, int]:
    """Trains once; returns the trainer's seconds, and the seconds, CPU-seconds and peak bytes of the process."""
    import time

    cores = sorted(os.sched_getaffinity(0))[-options.cores :]
    command = [sys.executable, "-m", "gradebook.pipelines.cli.main", "train", str(project), "--run", f"r{number}"]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, "--method", options.method, "--steps", str(options.steps), "--no-live", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": str(options.cores)},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds, time.perf_counter() - began, cpu, after.ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
