"""Checks whether two checkouts train identically: compares the same runs of both, bit for bit.

    python -m benchmarks.same_run OLD_CHECKOUT NEW_CHECKOUT

The old checkout makes a project of scikit-learn's digits, and each checkout trains on a copy of it. Runs are started as
users start them: `python pipelines/train.py`, or `accelerate launch pipelines/train.py` for two processes. The files of
the runs are compared: the student's weights, its predictions, the segments of the record, and the metrics except times.
A checkout that can end a run with another classifier is given `--classifier student`. Use it after every change that
should not change results. It needs the environment that both checkouts install.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from gradebook.pipelines.studies.command_line import footer

BACKBONE = "test_efficientnet"  # timm's smallest
SIZE = 32  # height and width in pixels
LABELLED = 40  # images with a label
TIMES = frozenset({"seconds", "images_per_second", "phases"})  # metrics that differ between any two runs
FILES = {"weights": "student.safetensors", "predictions": "predictions.parquet", "record": "record/*.parquet"}

CALL_CLI = """
import json, sys
from {module} import main
sys.exit(any(main(command) for command in json.loads(sys.argv[1])))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Options of the comparison."""

    old: Annotated[Positional[Path], arg(metavar="OLD_CHECKOUT", help="the checkout to agree with")]
    new: Annotated[Positional[Path], arg(metavar="NEW_CHECKOUT", help="the checkout to test")]
    methods: tuple[str, ...] = ("supervised", "fixmatch", "uda", "mpl")
    """Training methods."""
    inputs: tuple[Literal["views", "pixels"], ...] = ("views", "pixels")
    """Cached views of a frozen network, images, or both."""
    processes: tuple[int, ...] = (1, 2)
    """Numbers of processes."""
    images: int = 200
    """Digits to train on."""
    steps: int = 8
    """Training steps."""
    work: Path | None = None
    """New directory that keeps the projects and runs; a temporary one by default."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One run, which both checkouts train."""

    method: str
    inputs: str
    processes: int

    @property
    def name(self) -> str:
        """The run's name in both projects."""
        return f"{self.method}-{self.inputs}-{self.processes}"


@dataclass(frozen=True, slots=True)
class Side:
    """A checkout, the project that it trains on, and the flags that only this checkout needs."""

    checkout: Path
    project: Path
    flags: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table with a row for each run; returns 1 if any differs."""
    import tyro

    given = list(sys.argv[1:] if arguments is None else arguments)
    options = tyro.cli(Comparison, args=given, prog="python -m benchmarks.same_run", description=__doc__)
    setups = [Setup(*one) for one in product(options.methods, options.inputs, options.processes)]
    commits = f"old: {commit(options.old)}, new: {commit(options.new)}"
    with work_directory(options.work) as work:
        sides = make_sides(options, work)
        rows = [compare_checkouts(sides, setup, options.steps) for setup in setups]
    print(as_markdown(setups, rows))
    print(footer("-m benchmarks.same_run", given))
    print(commits)
    return int(any(value != "equal" for row in rows for value in row.values()))


def make_sides(options: Comparison, work: Path) -> list[Side]:
    """Makes a project with the old checkout, and returns both checkouts, each with a copy of it."""
    make_project(options, work)
    sides = []
    for name, checkout in (("old", options.old), ("new", options.new)):
        shutil.copytree(work / "project", work / name)
        sides.append(Side(checkout, work / name, classifier_flags(checkout, work)))
    return sides


def classifier_flags(checkout: Path, work: Path) -> tuple[str, ...]:
    """Returns the flags with which a checkout ends a run with its student, as all do that have no such choice."""
    script = str(checkout.resolve() / "pipelines" / "train.py")
    has_choice = "--classifier" in run([sys.executable, script, "--help"], checkout, work)
    return ("--classifier", "student") if has_choice else ()


def make_project(options: Comparison, work: Path) -> None:
    """Makes a project of labelled and unlabelled digits with the old checkout."""
    write_digits(work / "images", work / "labels.csv", options.images)
    project = str(work / "project")
    commands = [
        ["init", project, "--classes", ",".join("0123456789")],
        ["import", project, str(work / "images")],
        ["label", project, str(work / "labels.csv")],
        ["embed", project, "--backbone", BACKBONE, "--weights", "random", "--size", str(SIZE), "--views", "5"],
    ]
    # until 37b9eb7 the packages were imported from the top level
    module = "gradebook.pipelines.cli.main" if (options.old / "gradebook").is_dir() else "pipelines.cli"
    run([sys.executable, "-c", CALL_CLI.format(module=module), json.dumps(commands)], options.old, work)


def write_digits(directory: Path, labels: Path, count: int) -> None:
    """Writes digits as PNG files, and the labels of the first of them as a CSV file."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    directory.mkdir()
    with labels.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["filepath", "label"])
        for number, (pixels, label) in enumerate(zip(digits.images[:count], digits.target[:count], strict=True)):
            path = directory / f"{number:04}.png"
            image = Image.fromarray((pixels * 15.9375).astype("uint8"))
            image.resize((SIZE, SIZE), Image.Resampling.NEAREST).save(path)
            if number < LABELLED:
                table.writerow([path, label])


def compare_checkouts(sides: Sequence[Side], setup: Setup, steps: int) -> dict[str, str]:
    """Trains one run in both checkouts at the same time, and compares the results."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda side: train(setup, steps, side), sides))
    row = compare_runs(*(side.project / "runs" / setup.name for side in sides))
    print(setup.name, row, file=sys.stderr, flush=True)
    return row


def train(setup: Setup, steps: int, side: Side) -> None:
    """Trains one run in one checkout."""
    script = str(side.checkout.resolve() / "pipelines" / "train.py")
    launch = [
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(setup.processes)),
        *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
    ]
    flags = [
        *(str(side.project), "--run", setup.name, "--method", setup.method, "--inputs", setup.inputs, "--no-live"),
        *("--backbone", BACKBONE, "--weights", "random", "--size", str(SIZE), "--steps", str(steps)),
        *("--labelled", "8", "--unlabelled", "16", "--workers", "0", "--finetune-steps", "2", "--log-every", "2"),
        *("--validate-every", str(max(steps // 2, 1)), "--checkpoint-every", str(max(steps // 2, 1))),
        *side.flags,
    ]
    launcher = launch if setup.processes > 1 else []
    run([sys.executable, *launcher, script, *flags], side.checkout, side.project.parent)


def compare_runs(old: Path, new: Path) -> dict[str, str]:
    """Returns "equal" or the difference for each kind of file."""
    row = {what: compare_files(old, new, pattern) for what, pattern in FILES.items()}
    return row | {"metrics": compare_metrics(metrics(old), metrics(new))}


def compare_files(old: Path, new: Path, pattern: str) -> str:
    """Compares the files of two directories that match a pattern, byte by byte."""
    names = [sorted(path.relative_to(root).as_posix() for path in root.glob(pattern)) for root in (old, new)]
    if not names[0]:
        return "no file in the old run"
    if names[0] != names[1]:
        return f"files {', '.join(names[0])}; then {', '.join(names[1])}"
    differing = [name for name in names[0] if (old / name).read_bytes() != (new / name).read_bytes()]
    return f"DIFFERENT: {', '.join(differing)}" if differing else "equal"


def compare_metrics(old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> str:
    """Compares rows of metrics, all digits of each number. JSON keeps a float exactly, and text compares NaN too."""
    if not old or len(old) != len(new):
        return f"{len(old)} rows, then {len(new)}"
    for one, other in zip(old, new, strict=True):
        differing = [key for key in one.keys() | other.keys() if repr(one.get(key)) != repr(other.get(key))]
        if differing:
            return f"DIFFERENT: {', '.join(sorted(differing))} at step {one['step']}"
    return "equal"


def metrics(path: Path) -> list[dict[str, Any]]:
    """Returns a run's metrics without times."""
    lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]


def run(command: Sequence[str], checkout: Path, cwd: Path) -> str:
    """Runs a command that imports Gradebook from a checkout, and returns what it prints.

    Raises:
        SystemExit: the command failed; its last lines are printed.
    """
    # gradebook is also installed from one of the checkouts, and PYTHONPATH comes before that
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve()), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def commit(checkout: Path) -> str:
    """Returns the checkout's commit, marked as dirty if files differ from it."""
    describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip() or "no git checkout"


@contextmanager
def work_directory(given: Path | None) -> Iterator[Path]:
    """Yields the new directory `given`, or a temporary one."""
    if given is not None:
        given.mkdir(parents=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def as_markdown(setups: Sequence[Setup], rows: Sequence[dict[str, str]]) -> str:
    """Returns the table."""
    columns = list(rows[0])
    lines = [f"| method | inputs | processes | {' | '.join(columns)} |", f"|{' --- |' * (3 + len(columns))}"]
    for setup, row in zip(setups, rows, strict=True):
        lines.append(f"| {setup.method} | {setup.inputs} | {setup.processes} | {' | '.join(row.values())} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
