"""Measures the cost of the record: the same training with every step recorded and with none, in turn.

    python -m benchmarks.record PROJECT --rounds 5

PROJECT has labels and cached views, such as the demo's. Prints CPU-seconds and wall seconds (medians over the rounds),
the ratio of the two trainings of a round (median and quartiles), and the size of the record on disk. Only ratios can be
compared between machines. Trainings vary by more than the record costs, so the CPU time of the record's own work is
also measured directly, in the thread of the training and in the one that writes.
"""

import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

from tyro.conf import Positional, arg

from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.studies.command_line import footer


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCost:
    """Options of the benchmark."""

    project: Annotated[Positional[Path], arg(help="a project with labels and cached views")]
    rounds: int = 5
    """Trainings with, and trainings without a record."""
    steps: int = 600
    """Steps of each training."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(RecordCost, args=given, prog="python -m benchmarks.record", description=__doc__)
    times: dict[str, list[tuple[float, float]]] = {"on": [], "off": []}
    own: list[float] = []
    with tempfile.TemporaryDirectory() as directory, clocked(own):
        copy = Path(directory) / "project"
        shutil.copytree(options.project, copy)
        train_once(copy, options, "on")  # a warm-up
        own.clear()
        for number in range(options.rounds):
            for kind in ("on", "off") if number % 2 else ("off", "on"):
                times[kind].append(train_once(copy, options, kind))
        spent = sum(own) / options.rounds
        train_once(copy, options, "on")
        size = sum(path.stat().st_size for path in (copy / "runs" / "cost" / "record").iterdir())
        rows = options.steps * _config(options, "on").unlabelled
    print(as_markdown(times, spent, size, rows, given))
    return 0


def train_once(project: Path, options: RecordCost, kind: str) -> tuple[float, float]:
    """Returns the CPU-seconds of one training and the wall seconds of its steps."""
    from gradebook.pipelines.training.config import TrainCommand
    from gradebook.pipelines.training.trainer import train

    shutil.rmtree(project / "runs" / "cost", ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = train(TrainCommand(project=project, config=_config(options, kind)))
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert result is not None
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, result.seconds


@contextmanager
def clocked(spent: list[float]) -> Iterator[None]:
    """Appends the CPU-seconds of each call of the recorder to `spent`, in whichever thread it runs."""
    from gradebook.pipelines.training.recorder import Recorder

    def with_clock(work: Callable[..., None]) -> Callable[..., None]:
        def done(*arguments: Any) -> None:
            before = time.thread_time()
            work(*arguments)
            spent.append(time.thread_time() - before)

        return done

    put, write = with_clock(Recorder.put), with_clock(Recorder._write)
    with patch.object(Recorder, "put", put), patch.object(Recorder, "_write", write):
        yield


def as_markdown(
    times: dict[str, list[tuple[float, float]]], spent: float, size: int, rows: int, given: Sequence[str]
) -> str:
    """Returns the table."""
    lines = []
    for column, name in enumerate(("CPU-seconds", "wall seconds")):
        off, on = ([row[column] for row in times[kind]] for kind in ("off", "on"))
        low, middle, high = statistics.quantiles([b / a for a, b in zip(off, on, strict=True)], n=4)
        medians = statistics.median(off), statistics.median(on)
        lines.append(f"| {name} | {medians[0]:.2f} | {medians[1]:.2f} | {middle:.3f} ({low:.3f} to {high:.3f}) |")
    share = spent / statistics.median(row[0] for row in times["off"])
    return f"""
| per training, medians | record off | record on | ratio within a round (quartiles) |
| --- | --- | --- | --- |
{chr(10).join(lines)}

The record's own work takes {spent:.3f} CPU-seconds per training, {share:.2%} of a training without a record.
{rows} rows take {size / 1e6:.1f} MB, {size / rows:.1f} bytes per row.

{footer("-m benchmarks.record", given)}
"""


def _config(options: RecordCost, kind: str) -> Any:
    from gradebook.pipelines.training.presets import preset_of

    interval = 1 if kind == "on" else options.steps + 1
    return replace(preset_of("quick", "mpl"), run="cost", steps=options.steps, record_every=interval, live=False)


if __name__ == "__main__":
    sys.exit(main())
