"""The test command: format, lint, types and layers, then the tests. Prints pytest's summary last.

    python -m tests          the first tier: the tests that find most in a few minutes
    python -m tests --all    every test; CI runs this
    python -m tests --all --coverage    and the share of the lines that they run, which takes half as long again

Other arguments go to pytest, such as `-k feedback` or a path. Files are spread over the cores (`-n 0`: one process).
"""

import os
import subprocess
import sys

WORKERS = min(os.cpu_count() or 1, 8)
THREADS = {"OMP_NUM_THREADS": "1"}  # of each process: one worker a core is enough, and more threads wait for each other
EVERY_TEST = ("-m", "")  # replaces "not slow" of pyproject
COVERAGE = ("--cov", "--cov-report=", "-p", "tests.coverage_summary")
CHECKS = (
    ("ruff", "format", "--no-cache", "--check", "."),
    ("ruff", "check", "--no-cache", "."),
    ("mypy",),
    ("lint-imports", "--no-cache"),
)


def main() -> int:
    """Runs the checks, then pytest; returns the first exit status that is not 0."""
    arguments = sys.argv[1:]
    tier: tuple[str, ...] = ()
    for option, added in (("--all", EVERY_TEST), ("--coverage", COVERAGE)):
        if option in arguments:
            arguments.remove(option)
            tier += added
    tests = (sys.executable, "-m", "pytest", "-n", str(WORKERS), "--dist", "loadfile", "--durations", "20", *tier)
    for command in (*CHECKS, (*tests, *arguments)):
        print("$", " ".join(command), flush=True)
        status = subprocess.call(command, env=THREADS | os.environ)
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
