"""A command that did nothing ends with status two, says so in a line, and changes nothing."""

import shutil
from pathlib import Path

import pytest

from tests.pipelines.cli.cli_runner import done, gradebook

COMMANDS = [
    "import {project} {root}/no-images",
    "import {project} {root}/broken-images",
    "embed {empty}",
    "map {empty}",
    "label {project} {root}/no-labels.csv",
    "label {project} {root}/unknown-images.csv",
    "undo {project} nothing",
    "undo {project} audit:nothing",
    "classes {project} --undo",
    "split {project} --undo",
    "accept-rest {project}",
    "accept-rest {project} --cancel",
    "train {empty}",
    "train {project} --resume",
    "session {project} --stop",
    "evaluate {empty}",
    "forecast {empty}",
    "export {empty} {root}/out",
    "export-labels {empty} {root}/labels.csv",
    "export-labels {project} {root}/labels.csv --rejected",
    "export-labels {empty} {root}/labels.csv --predictions",
    "predict {classifier} {root}/no-images",
    "predict {classifier} {root}/broken-images",
    "pool {classifier} {root}/no-images {root}/pool.csv --per-class 1",
    "pool {classifier} {images} {root}/pool.csv --per-class 1 --without {images}",
    "pool-join {root}/joined.csv {root}/no-pool.csv --per-class 1",
    "push {root}/no-images ann/pets --yes",
    "delete-run {project} nothing --yes",
    "fetch {project}",
    "forget {project} {images}",
    "relocate {project} {images} {root}/no-images",
    "verify {root}/no-images",
    "backup {root}/no-images {root}/backup.zip",
    "restore {root}/nothing.zip {root}/restored",
]


@pytest.fixture(scope="module")
def places(world, tmp_path_factory) -> dict[str, Path]:
    """Folders and files with nothing in them for a command to do."""
    root = tmp_path_factory.mktemp("nothing")
    for folder in ("no-images", "broken-images"):
        (root / folder).mkdir()
    (root / "broken-images" / "broken.png").write_bytes(b"no image")
    (root / "no-labels.csv").write_text("filepath,label\n")
    (root / "unknown-images.csv").write_text("filepath,label\nelsewhere.png,cat\n")
    (root / "no-pool.csv").write_text("filepath,label,probability\n")
    done("init", root / "empty", "--classes", "cat,dog")
    project = shutil.copytree(world.project, root / "project")
    paths = {"project": project, "images": world.root / "images", "classifier": world.root / "classifier"}
    return {"root": root, "empty": root / "empty", **paths}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_does_nothing_ends_with_status_two(places, command):
    before = done("log", places["project"], "--json").out
    result = gradebook(*(word.format(**places) for word in command.split()))
    assert result.status == 2, result
    assert result.err.strip() and "Traceback" not in result.err
    assert done("log", places["project"], "--json").out == before


@pytest.mark.parametrize(
    "command", ["import {project} {images}", "label {project} {images}/../labels.csv", "split {project}"]
)
def test_what_was_done_before_is_not_an_error(places, command):
    assert gradebook(*(word.format(**places) for word in command.split())).status == 0
