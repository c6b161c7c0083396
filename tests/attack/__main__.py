"""Runs everything that tries to break Gradebook's promises, and prints what happened as a Markdown table.

    python -m tests.attack              one round
    python -m tests.attack --rounds 5   five, at other moments and places each time

CI runs the same tests with the others, one round of them. Kills, damaged files and key presses are spread over rounds,
three of which make every attempt.

A test may say how much it tried with `record_property("attempts", N)`, and what came of it with
`record_property("outcome", "a few words")`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from tests.attack.rounds import ROUND

ROOT = Path(__file__).parents[2]
GROUPS: dict[str, tuple[str, ...]] = {
    "`kill -9`": (
        "tests/test_kills.py",
        "tests/test_kills_in_training.py",
        "tests/storage/test_killed_folds.py",
    ),
    "`kill -9` of a live session": ("tests/pipelines/session/test_kills_in_session.py",),
    "verdicts from five places at once": ("tests/pipelines/curation/test_labelling_races.py",),
    "leaving the review page": ("tests/app/test_leaving_review.py",),
    "damaged files of a project": ("tests/attack/test_mutated_files.py",),
    "destroyed parts, damaged and hostile backups": ("tests/attack/test_backup.py",),
    "a read-only and a full disk": (
        "tests/attack/test_full_disk.py",
        "tests/pipelines/cli/test_read_only.py",
        "tests/pipelines/process/test_errors.py",
    ),
    "a shared server without signing in": ("tests/app/test_signing_in.py",),
}


@dataclass(slots=True)
class Result:
    """What became of the tests of one group, over all rounds."""

    attempts: int = 0
    failed: list[str] = field(default_factory=list)  # names of tests
    skipped: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, case: ElementTree.Element) -> None:
        """Adds a test of a report of pytest in JUnit's form."""
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        if case.find("skipped") is not None:
            self.skipped += 1
            return
        self.attempts += int(properties.get("attempts") or 1)
        self.outcomes.update(filter(None, [properties.get("outcome")]))
        if case.find("failure") is not None or case.find("error") is not None:
            self.failed.append(str(case.get("name")))

    def text(self) -> str:
        """Returns what happened, in words."""
        if self.failed:
            return f"**failed**: {', '.join(sorted(set(self.failed)))}"
        words = "; ".join(self.outcomes) or "as promised"
        return f"{words} ({self.skipped} skipped)" if self.skipped else words


def main() -> int:
    """Runs the groups; returns 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="repetitions, each at other moments and places")
    parser.add_argument("--only", nargs="*", help="names of rows of the table, or a part of them")
    chosen = parser.parse_args()
    every = groups()
    names = [name for name in every if not chosen.only or any(part in name for part in chosen.only)]
    results = run({name: every[name] for name in names}, chosen.rounds)
    print("\n".join(table(results, chosen.rounds)))
    return int(any(result.failed for result in results.values()))


def groups() -> dict[str, tuple[str, ...]]:
    """Returns the test modules of each row; a module of this package that no row names has one of its own."""
    named = {module for modules in GROUPS.values() for module in modules}
    own = [path.relative_to(ROOT).as_posix() for path in sorted(Path(__file__).parent.glob("test_*.py"))]
    others = [module for module in own if module not in named]
    return GROUPS | {Path(module).stem.removeprefix("test_").replace("_", " "): (module,) for module in others}


def run(chosen: dict[str, tuple[str, ...]], rounds: int) -> dict[str, Result]:
    """Runs the tests of the groups, slow ones too, in one process for each round: it imports the libraries once."""
    results = {name: Result() for name in chosen}
    group_of = {module: name for name, modules in chosen.items() for module in modules}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            options = ("-m", "", "-o", "junit_family=xunit1", f"--junitxml={report}", "--durations", "20")
            command = (sys.executable, "-m", "pytest", "-q", *options, *group_of)
            done = subprocess.run(command, cwd=ROOT, env=os.environ | {ROUND: str(number)}, stdout=sys.stderr)
            if not report.exists():
                sys.exit(f"pytest ended with status {done.returncode} and without a report")
            for case in ElementTree.parse(report).iter("testcase"):
                results[group_of[str(case.get("file"))]].add(case)
    return results


def table(results: dict[str, Result], rounds: int) -> Iterator[str]:
    """Yields the lines of the table."""
    when, cores = datetime.now(UTC).date().isoformat(), os.cpu_count()
    yield f"`python -m tests.attack --rounds {rounds}`, {cores} cores, {when}:"
    yield ""
    yield "| what was tried | how often | what happened |"
    yield "| --- | --- | --- |"
    for name, result in results.items():
        yield f"| {name} | {result.attempts:,} | {result.text()} |"


if __name__ == "__main__":
    sys.exit(main())
