"""Breaks the methods on purpose, one line at a time, in a copy; each break must fail a test.

    python -m tests.mutations            all of them, about 5 minutes on one core
    python -m tests.mutations mixmatch   those whose file or name has this in it

Prints which test caught which mutation; the exit status is 1 if one survived. A mutation is a text of the source that
stands there exactly once, and what replaces it, so a mutation that no longer fits the source is reported too.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.mutations.feedback import FEEDBACK
from tests.mutations.methods import METHODS
from tests.mutations.mutation import Mutation

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("student_step", "feedback", "methods", "losses", "method_state", "thresholds", "averages", "mixmatch", "vat")
TESTS = (*TESTS, "reduced_mpl", "every_method", "forward_mode", "forward_attention", "activation_recompute")
TESTS = (*TESTS, "accumulation")
MUTATIONS = [*FEEDBACK, *METHODS]


def main() -> int:
    """Tries each mutation; returns the exit status."""
    import pytest  # noqa: F401  loaded once: every mutation runs in a fork
    import timm.utils.model_ema  # noqa: F401
    import torch

    torch.set_num_threads(1)
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [m for m in MUTATIONS if asked in f"{m.file} {m.name}"]
    survivors = 0
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for name in ("gradebook", "mpl", "tests"):
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "pyproject.toml").write_text("[tool.pytest.ini_options]\nmarkers = ['slow', 'browser']\n")
        failed = _first_failure(copy)
        if failed:
            print(f"without any mutation {failed} fails: repair that first")
            return 1
        for mutation in chosen:
            began = time.perf_counter()
            verdict = _tried(mutation, copy)
            survivors += not verdict.startswith("caught")
            print(f"{mutation.file:31} {mutation.name:42} {verdict} ({time.perf_counter() - began:.0f} s)", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations were caught")
    return 1 if survivors else 0


def _tried(mutation: Mutation, copy: Path) -> str:
    path = copy / "mpl" / mutation.file
    source = path.read_text(encoding="utf-8")
    if source.count(mutation.old) != 1:
        return f"DOES NOT FIT: its text stands {source.count(mutation.old)} times in the source"
    path.write_text(source.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        failed = _first_failure(copy)
    finally:
        path.write_text(source, encoding="utf-8")
    return f"caught by {failed}" if failed else "SURVIVED"


def _first_failure(copy: Path) -> str:
    """Returns the first test that fails in the copy, "" if none does; runs in a fork, so that imports are fresh."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "w") as out:
            out.write(_run(copy))
            out.flush()
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        failed = answer.read()
    _, ended = os.waitpid(child, 0)
    assert ended == 0, "the tests were not run: run them by themselves to see why"
    return failed


def _run(copy: Path) -> str:
    import pytest

    os.chdir(copy)
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    failed: list[str] = []

    class Listener:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid.removeprefix("tests/mpl/"))

        def pytest_collectreport(self, report: pytest.CollectReport) -> None:
            if report.failed:
                failed.append(f"{report.nodeid} (cannot be collected)")

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    files = [f"tests/mpl/test_{name}.py" for name in TESTS]
    for name in [name for name in sys.modules if name.split(".")[0] in ("gradebook", "tests")]:
        del sys.modules[name]  # those of the copy are meant
    status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:warnings", *files], plugins=[Listener()])
    from gradebook import mpl

    assert mpl.__file__ is not None and Path(mpl.__file__).is_relative_to(copy), "the copy was not what was tested"
    assert failed or status == 0, f"pytest ended with {status}, and no test failed"
    return failed[0] if failed else ""


if __name__ == "__main__":
    sys.exit(main())
