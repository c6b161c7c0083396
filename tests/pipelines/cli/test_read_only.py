"""Commands that only look work on a project that cannot be written to."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forkserver import forked
from tests.pipelines.cli.cli_runner import gradebook
from tests.pipelines.cli.finished_round import FinishedRound

NOBODY = 65534
CACHES = ("overview.json", "runs/one/reasons.arrow", "runs/one/reading.npz", "runs/one/evaluation.json")


@pytest.fixture
def read_only(world: FinishedRound) -> Iterator[Path]:
    """A copy of a project without its caches, in a directory that everybody can read and nobody can write to."""
    parent = Path(tempfile.mkdtemp())
    shutil.copytree(world.project, parent / "project")
    for name in CACHES:
        (parent / "project" / name).unlink(missing_ok=True)
    for path in [parent, *parent.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
        if os.getuid() == 0:
            os.chown(path, NOBODY, NOBODY)  # another user's project is not opened
    yield parent / "project"
    for path in [parent, *parent.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(parent)


def as_nobody(command: tuple[str, ...], project: Path, writable: Path, output: Path) -> None:
    """Calls a command as a user who may not write, and writes down what it prints."""
    gradebook(command[0], writable, *command[1:])  # imports what it needs, which that user may not be able to read
    file = output.open("w")
    if os.getuid() == 0:
        os.setuid(NOBODY)
    completed = gradebook(command[0], project, *command[1:])
    print(completed.status, completed.out, completed.err, sep="\n", file=file, flush=True)


@pytest.mark.parametrize(
    "command", [("status",), ("queue",), ("queue", "--labelled"), ("evaluate",), ("log",), ("runs",)]
)
def test_a_command_that_looks_works(read_only, tmp_path, command):
    before = sorted(read_only.rglob("*"))
    shutil.copytree(read_only, tmp_path / "writable")
    for path in [tmp_path / "writable", *(tmp_path / "writable").rglob("*")]:
        path.chmod(0o755)
    with forked(as_nobody, command, read_only, tmp_path / "writable", tmp_path / "output") as process:
        process.join()
    text = (tmp_path / "output").read_text()
    assert text.startswith("0\n"), text
    assert sorted(read_only.rglob("*")) == before
    if command == ("evaluate",):
        assert "is read-only, so gradebook runs will not show this accuracy" in text
