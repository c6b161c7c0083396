"""How long the preset `quick` trains, and in how much memory, on made-up vectors of the size of real ones.

    python -m benchmarks.quick --samples 10000 100000 --cores 2

A project of so many samples of ten classes, 100 labelled, five views of 1,280 features each, is made once; each
training then runs in a process of its own. "Training" is the trainer's own count: its steps and the predictions at the
end, without starting and reading. Memory is the process's highest. Seconds of different machines do not compare.
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
from datetime import date
from pathlib import Path

import numpy as np

from gradebook.pipelines.studies.method_comparison import machine

K, D, WEAK, STRONG, LABELLED = 10, 1280, 2, 3, 100
AT_ONCE = 5000  # samples whose vectors are made together


@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    """What to measure."""

    samples: tuple[int, ...] = (10_000, 100_000)
    """Cached samples."""
    cores: int = 2
    """Processor cores."""
    rounds: int = 3
    """Trainings of each size."""
    method: str = "mpl"
    """How to learn."""
    steps: int = 600
    """Of each training; memory needs few."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(Quick, args=given, prog="quick.py", description=__doc__)
    rows = []
    for samples in asked.samples:
        with tempfile.TemporaryDirectory() as directory:
            project = Path(directory) / "project"
            make(project, samples)
            found = [trained(project, asked, number) for number in range(asked.rounds)]
        training, whole, cpu, memory = (statistics.median(row[k] for row in found) for k in range(4))
        rows.append(f"| {samples:,} | {training:.1f} | {whole:.1f} | {cpu:.1f} | {memory / 1e9:.2f} |")
    print(f"""
| samples | training, s | whole process, s | its CPU-seconds | memory, GB |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

`python -m benchmarks.quick {" ".join(given)}`, {date.today()}, {machine()}
""")
    return 0


def make(root: Path, samples: int) -> None:
    """Makes the project, in a process of its own so that its memory does not count."""
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
    found = [
        Sample(
            sample_id=sample_id(str(n).encode()),
            filepath=f"{root}/{n}.png",
            split=Split.TRAIN,
            width=64,
            height=64,
            fingerprint=print_of(n),
        )
        for n in range(samples)
    ]
    store.catalog.add(found, [])
    store.log.append(
        [event(Kind.IMPORTED, s.sample_id, f"class {n % K}", actor="import") for n, s in enumerate(found[:LABELLED])]
    )
    backbone = "tf_efficientnet_lite0"
    store.vectors.create(Space(backbone=backbone, weights="none", size=64, dim=D, weak=WEAK, strong=STRONG, seed=0))
    centres = random.standard_normal((K, 1, D), np.float32)
    for start in range(0, samples, AT_ONCE):
        part = np.arange(start, min(start + AT_ONCE, samples))
        views = centres[part % K] + random.standard_normal((len(part), WEAK + STRONG, D), np.float32)
        store.vectors.add(backbone, [found[n].sample_id for n in part], views.astype(np.float16))


def print_of(number: int) -> bytes:
    """Returns a fingerprint like no other's."""
    return np.random.default_rng(number).bytes(200)


def trained(project: Path, asked: Quick, number: int) -> tuple[float, float, float, int]:
    """Trains once and returns seconds of training, seconds and CPU-seconds of the process, and bytes at its highest."""
    import time

    cores = sorted(os.sched_getaffinity(0))[-asked.cores :]
    command = [sys.executable, "-m", "gradebook.pipelines.cli.main", "train", str(project), "--run", f"r{number}"]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, "--method", asked.method, "--steps", str(asked.steps), "--no-live", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": str(asked.cores)},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds, time.perf_counter() - began, cpu, after.ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
