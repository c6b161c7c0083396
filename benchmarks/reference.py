"""Compares a training step with other public programs: CPU time, wall time and memory on the same machine.

    git clone https://github.com/kekmodel/MPL-pytorch
    git clone https://github.com/microsoft/Semi-supervised-learning usb
    python -m benchmarks.reference --mpl-pytorch MPL-pytorch --usb usb --methods mpl uda fixmatch

Each program runs its own training loop with its own data loading, augmentation, optimiser and weight averaging, with
its published settings for CIFAR-10 with 4,000 labels and WRN-28-2, on the same stand-in for CIFAR-10
(`benchmarks.contenders`). The programs take turns. CPU-seconds of a step are those of the process and its workers.
Memory is the peak of a process above its memory before the first step, when data, networks and libraries are loaded.
Only ratios can be compared between machines.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.contenders.clock import Reading, Task
from gradebook.pipelines.studies.command_line import footer


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Options of the benchmark."""

    mpl_pytorch: Path | None = None
    """A checkout of kekmodel/MPL-pytorch, for mpl."""
    usb: Path | None = None
    """A checkout of microsoft/Semi-supervised-learning, for uda and fixmatch."""
    methods: tuple[str, ...] = ("mpl",)
    """Methods: mpl, uda and fixmatch."""
    precisions: tuple[str, ...] = ("no", "bf16")
    """Precisions of Gradebook's step; the other programs compute in float32."""
    labelled: tuple[int, ...] = (16, 64)
    """B, labelled images per step."""
    mu: int = 7
    """Unlabelled images per labelled image."""
    cores: tuple[int, ...] = (1, 2)
    """CPU cores and threads."""
    rounds: int = 3
    """Runs of each program."""
    steps: int = 3
    """Measured steps of each run, after one warm-up step."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One program and its task."""

    name: str
    module: str  # of `benchmarks.contenders`
    task: Task


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(Comparison, args=given, prog="python -m benchmarks.reference", description=__doc__)
    rows = [row for task in _tasks(options) for row in compared(options, task)]
    print(as_markdown(rows, given))
    return 0


def compared(options: Comparison, task: Task) -> list[str]:
    """Runs the contenders of a task in turn; returns a row of the table for each, the other program's first."""
    contenders = _contenders(options, task)
    read: dict[str, list[Reading]] = {contender.name: [] for contender in contenders}
    for number in range(options.rounds):
        for contender in contenders if number % 2 == 0 else contenders[::-1]:
            read[contender.name].append(run(contender))
            progress = (contender.name, task.method, task.labelled, task.cores, read[contender.name][-1])
            print(*progress, file=sys.stderr, flush=True)
    medians = {name: _median(readings) for name, readings in read.items()}
    other = medians[contenders[0].name]
    where = f"{task.method}, B={task.labelled}, {task.cores} core{'s' if task.cores > 1 else ''}"
    return [
        f"| {where} | {name} | {r['cpu']:.2f} | {other['cpu'] / r['cpu']:.2f} | {r['wall']:.2f} "
        f"| {other['wall'] / r['wall']:.2f} | {r['memory'] / 1e6:.0f} | {r['memory'] / other['memory']:.2f} |"
        for name, r in medians.items()
    ]


def run(contender: Contender) -> Reading:
    """Runs one contender in a new process, on the cores of its task.

    Raises:
        RuntimeError: it ended without a measurement; the message has its last output.
    """
    cores = sorted(os.sched_getaffinity(0))[-contender.task.cores :]
    done = subprocess.run(
        [sys.executable, "-m", contender.module, json.dumps(asdict(contender.task))],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(contender.task.cores),
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise RuntimeError(f"{contender.name} ended without a measurement:\n{done.stderr[-2000:]}")
    return Reading(**json.loads(lines[-1]))


def as_markdown(rows: Sequence[str], given: Sequence[str]) -> str:
    """Returns the table."""
    return f"""
| step | program | CPU-s | speed-up | wall, s | speed-up | memory, MB | ratio |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{footer("-m benchmarks.reference", given)}
"""


def _tasks(options: Comparison) -> Iterator[Task]:
    for method in options.methods:
        for labelled in options.labelled:
            for cores in options.cores:
                yield Task(method=method, labelled=labelled, mu=options.mu, steps=options.steps, warmup=1, cores=cores)


def _contenders(options: Comparison, task: Task) -> list[Contender]:
    name, module, checkout = (
        ("MPL-pytorch", "benchmarks.contenders.mpl_pytorch", options.mpl_pytorch)
        if task.method == "mpl"
        else ("USB", "benchmarks.contenders.usb", options.usb)
    )
    if checkout is None:
        raise SystemExit(
            f"{task.method} is compared with {name}: give a checkout with --{module.split('.')[-1].replace('_', '-')}"
        )
    module_of_ours = "benchmarks.contenders.ours"
    ours = [Contender(f"ours, {p}", module_of_ours, replace(task, precision=p)) for p in options.precisions]
    return [Contender(name, module, replace(task, reference=str(checkout.resolve()))), *ours]


def _environment(cores: int) -> dict[str, str]:
    """Returns the environment of a contender, without the variable that importing `pipelines` has set here."""
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
