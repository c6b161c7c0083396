"""What the record costs a training: the same run with every step recorded and with none, in turns.

    python benchmarks/record.py PROJECT --rounds 5

PROJECT has labels and cached views, such as the demo's. Prints CPU-seconds and wall seconds (medians over the
rounds), their ratio, and what a record takes on disk. Ratios of one run are comparable; seconds are not.
"""

import resource
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from pipelines.progress import hush
from pipelines.report import machine


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

    hush()
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(RecordCost, args=given, prog="record.py", description=__doc__)
    times: dict[str, list[tuple[float, float]]] = {"on": [], "off": []}
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "project"
        shutil.copytree(asked.project, copy)
        trained(copy, asked, "on")  # warms up
        for number in range(asked.rounds):
            for kind in ("on", "off") if number % 2 else ("off", "on"):
                times[kind].append(trained(copy, asked, kind))
        trained(copy, asked, "on")
        size = sum(path.stat().st_size for path in (copy / "runs" / "cost" / "record").iterdir())
        rows = asked.steps * _config(asked, "on").unlabelled
    print(as_markdown(times, size, rows, given))
    return 0


def trained(project: Path, asked: RecordCost, kind: str) -> tuple[float, float]:
    """Returns the CPU-seconds of one training and the wall seconds of its steps."""
    from pipelines.presets import Call
    from pipelines.train import train

    shutil.rmtree(project / "runs" / "cost", ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = train(Call(project=project, config=_config(asked, kind)))
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert result is not None
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, result.seconds


def as_markdown(times: dict[str, list[tuple[float, float]]], size: int, rows: int, given: Sequence[str]) -> str:
    """Returns the table."""
    cpu, wall = ({kind: statistics.median(row[k] for row in times[kind]) for kind in times} for k in (0, 1))
    lines = [
        f"| {name} | {found['off']:.2f} | {found['on']:.2f} | {found['on'] / found['off']:.3f} |"
        for name, found in (("CPU-seconds", cpu), ("wall seconds", wall))
    ]
    return f"""
| a training, medians | record off | record on | ratio |
| --- | --- | --- | --- |
{chr(10).join(lines)}

{rows} rows take {size / 1e6:.1f} MB, {size / rows:.1f} bytes a row.

`python benchmarks/record.py {" ".join(given)}`, {date.today()}, {machine()}
"""


def _config(asked: RecordCost, kind: str) -> Any:
    from pipelines.presets import preset_of

    every = 1 if kind == "on" else asked.steps + 1
    return replace(preset_of("quick", "mpl"), run="cost", steps=asked.steps, record_every=every, live=False)


if __name__ == "__main__":
    sys.exit(main())
