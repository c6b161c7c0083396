"""What the record costs a training: the same run with every step recorded and with none, in turns.

    python benchmarks/record.py PROJECT --rounds 5

PROJECT has labels and cached views, such as the demo's. Prints CPU-seconds and wall seconds (medians over the
rounds), their ratio, how far the ratios of single rounds lie apart, and what a record takes on disk. Ratios of one run
are comparable; seconds are not. Trainings differ by more than a record costs, so the CPU time of the two places where
the record's own work is done (the training's thread and the writing one) is measured too.
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
from datetime import date
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

from tyro.conf import Positional, arg

from gradebook.pipelines.process.progress import silence_libraries
from gradebook.pipelines.studies.method_comparison import machine


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCost:
    """What to measure."""

    project: Annotated[Positional[Path], arg(help="a project with labels and cached views")]
    rounds: int = 5
    """Trainings of each kind."""
    steps: int = 600
    """Of each training."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(RecordCost, args=given, prog="record.py", description=__doc__)
    times: dict[str, list[tuple[float, float]]] = {"on": [], "off": []}
    own: list[float] = []
    with tempfile.TemporaryDirectory() as directory, clocked(own):
        copy = Path(directory) / "project"
        shutil.copytree(asked.project, copy)
        trained(copy, asked, "on")  # warms up
        own.clear()
        for number in range(asked.rounds):
            for kind in ("on", "off") if number % 2 else ("off", "on"):
                times[kind].append(trained(copy, asked, kind))
        spent = sum(own) / asked.rounds
        trained(copy, asked, "on")
        size = sum(path.stat().st_size for path in (copy / "runs" / "cost" / "record").iterdir())
        rows = asked.steps * _config(asked, "on").unlabelled
    print(as_markdown(times, spent, size, rows, given))
    return 0


def trained(project: Path, asked: RecordCost, kind: str) -> tuple[float, float]:
    """Returns the CPU-seconds of one training and the wall seconds of its steps."""
    from gradebook.pipelines.training.config import TrainCommand
    from gradebook.pipelines.training.trainer import train

    shutil.rmtree(project / "runs" / "cost", ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = train(TrainCommand(project=project, config=_config(asked, kind)))
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert result is not None
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, result.seconds


@contextmanager
def clocked(spent: list[float]) -> Iterator[None]:
    """Adds the CPU-seconds of each piece of the record's own work to `spent`, in whichever thread it is done."""
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
    for place, name in enumerate(("CPU-seconds", "wall seconds")):
        off, on = ([row[place] for row in times[kind]] for kind in ("off", "on"))
        low, middle, high = statistics.quantiles([b / a for a, b in zip(off, on, strict=True)], n=4)
        medians = statistics.median(off), statistics.median(on)
        lines.append(f"| {name} | {medians[0]:.2f} | {medians[1]:.2f} | {middle:.3f} ({low:.3f} to {high:.3f}) |")
    share = spent / statistics.median(row[0] for row in times["off"])
    return f"""
| a training, medians | record off | record on | ratio of a round's two (middle half) |
| --- | --- | --- | --- |
{chr(10).join(lines)}

The record's own work takes {spent:.3f} CPU-seconds a training, {share:.2%} of one without a record.
{rows} rows take {size / 1e6:.1f} MB, {size / rows:.1f} bytes a row.

`python benchmarks/record.py {" ".join(given)}`, {date.today()}, {machine()}
"""


def _config(asked: RecordCost, kind: str) -> Any:
    from gradebook.pipelines.training.presets import preset_of

    every = 1 if kind == "on" else asked.steps + 1
    return replace(preset_of("quick", "mpl"), run="cost", steps=asked.steps, record_every=every, live=False)


if __name__ == "__main__":
    sys.exit(main())
