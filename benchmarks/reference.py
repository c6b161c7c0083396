"""Our step beside the public programs' own: CPU-seconds, wall and memory, in turns on the same machine.

    git clone https://github.com/kekmodel/MPL-pytorch
    git clone https://github.com/microsoft/Semi-supervised-learning usb
    python -m benchmarks.reference --mpl-pytorch MPL-pytorch --usb usb --methods mpl uda fixmatch

Each program runs its own train loop with its own data loading, augmentation, optimiser and average, with the settings
that it publishes for CIFAR-10 with 4,000 labels and WRN-28-2, on the same stand-in for CIFAR-10
(`benchmarks.contenders`). A step's CPU-seconds are those of the process and its workers. Memory is what a process had
at its highest above what it held before its first step, with data, networks and libraries loaded. Ratios of one run are
comparable; seconds are not, since machines differ and are shared.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

from benchmarks.contenders.clock import Reading, Task
from gradebook.pipelines.studies.method_comparison import machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What to compare."""

    mpl_pytorch: Path | None = None
    """A checkout of kekmodel/MPL-pytorch, for mpl."""
    usb: Path | None = None
    """A checkout of microsoft/Semi-supervised-learning, for uda and fixmatch."""
    methods: tuple[str, ...] = ("mpl",)
    """Of mpl, uda and fixmatch."""
    precisions: tuple[str, ...] = ("no", "bf16")
    """Of our own step; the others compute in float32."""
    labelled: tuple[int, ...] = (16, 64)
    """B, labelled images a step."""
    mu: int = 7
    """Unlabelled images a labelled one."""
    cores: tuple[int, ...] = (1, 2)
    """Processor cores and threads."""
    rounds: int = 3
    """Runs of every side."""
    steps: int = 3
    """That count, of each run; one more goes before them."""


@dataclass(frozen=True, slots=True)
class Side:
    """One program as it is told to run."""

    name: str
    module: str
    task: Task


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(Comparison, args=given, prog="reference.py", description=__doc__)
    rows = [row for task in _tasks(asked) for row in compared(asked, task)]
    print(as_markdown(rows, given))
    return 0


def compared(asked: Comparison, task: Task) -> list[str]:
    """Runs every side of a task in turns and returns a row of the table each, the other program's first."""
    sides = _sides(asked, task)
    read: dict[str, list[Reading]] = {side.name: [] for side in sides}
    for number in range(asked.rounds):
        for side in sides if number % 2 == 0 else sides[::-1]:
            read[side.name].append(run(side))
            print(side.name, task.method, task.labelled, task.cores, read[side.name][-1], file=sys.stderr, flush=True)
    found = {name: _median(readings) for name, readings in read.items()}
    other = found[sides[0].name]
    where = f"{task.method}, B={task.labelled}, {task.cores} core{'s' if task.cores > 1 else ''}"
    return [
        f"| {where} | {name} | {r['cpu']:.2f} | {other['cpu'] / r['cpu']:.2f} | {r['wall']:.2f} "
        f"| {other['wall'] / r['wall']:.2f} | {r['memory'] / 1e6:.0f} | {r['memory'] / other['memory']:.2f} |"
        for name, r in found.items()
    ]


def run(side: Side) -> Reading:
    """Runs one side in a process of its own, on as many cores as its task says.

    Raises:
        RuntimeError: it ended without a reading; its last words are told.
    """
    cores = sorted(os.sched_getaffinity(0))[-side.task.cores :]
    done = subprocess.run(
        [sys.executable, "-m", side.module, json.dumps(asdict(side.task))],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(side.task.cores),
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise RuntimeError(f"{side.name} ended without a reading:\n{done.stderr[-2000:]}")
    return Reading(**json.loads(lines[-1]))


def as_markdown(rows: Sequence[str], given: Sequence[str]) -> str:
    """Returns the table."""
    return f"""
| step | program | CPU-s | times less | wall, s | times less | memory, MB | share |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

`python -m benchmarks.reference {" ".join(given)}`, {date.today()}, {machine()}
"""


def _tasks(asked: Comparison) -> Iterator[Task]:
    for method in asked.methods:
        for labelled in asked.labelled:
            for cores in asked.cores:
                yield Task(method=method, labelled=labelled, mu=asked.mu, steps=asked.steps, warmup=1, cores=cores)


def _sides(asked: Comparison, task: Task) -> list[Side]:
    name, module, checkout = (
        ("MPL-pytorch", "benchmarks.contenders.mpl_pytorch", asked.mpl_pytorch)
        if task.method == "mpl"
        else ("USB", "benchmarks.contenders.usb", asked.usb)
    )
    if checkout is None:
        raise SystemExit(
            f"{task.method} is compared with {name}: give a checkout with --{module[17:].replace('_', '-')}"
        )
    ours = [Side(f"ours, {p}", "benchmarks.contenders.ours", replace(task, precision=p)) for p in asked.precisions]
    return [Side(name, module, replace(task, reference=str(checkout.resolve()))), *ours]


def _environment(cores: int) -> dict[str, str]:
    """Returns a side's environment, without what `pipelines` set for itself here and the others do not ask for."""
    given = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    return given | {"OMP_NUM_THREADS": str(cores), "PYTHONPATH": str(Path(__file__).parent.parent)}


def _median(readings: Sequence[Reading]) -> dict[str, float]:
    return {
        "cpu": statistics.median(r.cpu for r in readings),
        "wall": statistics.median(r.wall for r in readings),
        "memory": statistics.median(r.peak - r.base for r in readings),
    }


if __name__ == "__main__":
    sys.exit(main())
