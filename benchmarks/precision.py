"""The same trainings in single and in half precision: accuracy and time, in turns.

    python -m benchmarks.precision PROJECT PROJECT ... --steps 600

Each PROJECT has labels, cached views and a labelled test split, such as those that `pipelines/studies/report.py --work`
leaves. It is copied, not written to. Prints test accuracy (nothing is chosen by it), CPU-seconds a training, and the
difference that half precision makes, project by project, with the 95 % interval of their mean (Student's t).
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
from typing import Annotated, Any, Literal, cast

from tyro.conf import Positional, arg

from pipelines.progress import hush
from pipelines.studies.report import machine

Precision = Literal["no", "bf16"]
PRECISIONS: tuple[Precision, Precision] = ("no", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What to train."""

    projects: Annotated[Positional[tuple[Path, ...]], arg(help="projects with labels and cached views")]
    methods: tuple[str, ...] = ("mpl",)
    """How to learn."""
    steps: int = 600
    """Of each training."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    import tyro

    hush()
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = tyro.cli(Study, args=given, prog="precision.py", description=__doc__)
    rows = [row for method in asked.methods for row in _studied(asked, method)]
    print(f"""
| method | precision | accuracy, % | project by project | CPU-seconds |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

`python -m benchmarks.precision {" ".join(given)}`, {date.today()}, {machine()}
""")
    return 0


def trained(project: Path, method: str, precision: Precision, steps: int) -> tuple[float, float]:
    """Trains once; returns the student's accuracy on the test split and the training's CPU-seconds."""
    from accelerate.state import AcceleratorState

    from pipelines.evaluate import evaluate
    from pipelines.presets import Call, preset_of
    from pipelines.runs import find_run
    from pipelines.train import train
    from storage.samples import Split
    from storage.store import open_store

    name = f"{method}-{precision}"
    shutil.rmtree(project / "runs" / name, ignore_errors=True)
    config: Any = replace(preset_of("quick", method), run=name, steps=steps, precision=precision, live=False)
    AcceleratorState._reset_state(reset_partial_state=True)  # or it keeps the first training's precision
    before = resource.getrusage(resource.RUSAGE_SELF)
    train(Call(project=project, config=config))
    after = resource.getrusage(resource.RUSAGE_SELF)
    store = open_store(project)
    found = evaluate(store, find_run(store.project, name), split=Split.TEST).as_json()
    return cast(float, found["accuracy"]), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _studied(asked: Study, method: str) -> list[str]:
    found: dict[Precision, list[tuple[float, float]]] = {precision: [] for precision in PRECISIONS}
    with tempfile.TemporaryDirectory() as directory:
        for number, project in enumerate(asked.projects):
            copy = Path(directory) / str(number)
            shutil.copytree(project, copy)
            for precision in PRECISIONS if number % 2 else PRECISIONS[::-1]:
                found[precision].append(trained(copy, method, precision, asked.steps))
            shutil.rmtree(copy)
    rows = []
    for precision, pairs in found.items():
        accuracies = [100 * accuracy for accuracy, _ in pairs]
        cpu = statistics.median(seconds for _, seconds in pairs)
        each = ", ".join(f"{a:.1f}" for a in accuracies)
        rows.append(f"| {method} | {precision} | {_interval(accuracies)} | {each} | {cpu:.1f} |")
    gains = [100 * (h[0] - s[0]) for h, s in zip(found["bf16"], found["no"], strict=True)]
    return [*rows, f"| {method} | difference | {_interval(gains, '+')} | {', '.join(f'{g:+.1f}' for g in gains)} |  |"]


def _interval(values: Sequence[float], sign: str = "") -> str:
    from scipy.stats import t

    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:{sign}.1f}"
    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:{sign}.1f} ± {half:.1f}"


if __name__ == "__main__":
    sys.exit(main())
