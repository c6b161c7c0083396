"""On a full disk each writing command ends in one sentence, loses and cuts off nothing, and can be repeated."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradebook.pipelines.maintenance.verify import verify
from gradebook.storage.events import replay
from gradebook.storage.store import open_store
from tests.pipelines.cli.cli_runner import done, gradebook
from tests.pipelines.cli.conftest import world  # noqa: F401
from tests.pipelines.cli.finished_round import NETWORK, FinishedRound

pytestmark = pytest.mark.slow

SPACE = (0, 500, 2_500, 5_000, 30_000)  # bytes to which a file may grow before the disk is full
TRAINING = ("--steps", 4, "--labelled", 4, "--unlabelled", 12, "--backbone", NETWORK, "--seed", 1)
COMMANDS = {
    "label": ("label", "PROJECT", "LABELS"),
    "import": ("import", "PROJECT", "MORE"),
    "classes": ("classes", "PROJECT", "--add", "owl"),
    "split": ("split", "PROJECT", "--test", 4),
    "map": ("map", "PROJECT"),
    "predict": ("predict", "CLASSIFIER", "IMAGES", "--out", "OUT/predictions.csv"),
    "embed": ("embed", "PROJECT", "--backbone", "test_vit", "--weights", "random", "--views", 2),
    "train": ("train", "PROJECT", "--run", "two", *TRAINING),
    "export": ("export", "PROJECT", "OUT/classifier", "--run", "one"),
    "export-labels as a table": ("export-labels", "PROJECT", "OUT/labels.csv"),
    "export-labels as folders": ("export-labels", "PROJECT", "OUT/labels", "--format", "folder"),
    "backup": ("backup", "PROJECT", "OUT/backup.zip"),
}
CONTINUED = {"predict"}  # by the next call, from the whole rows


@contextmanager
def full_disk(space: int) -> Iterator[None]:
    """Makes the disk full for this process: no file may grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (space, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def contents(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_meets_a_full_disk_ends_in_a_sentence_and_can_be_repeated(
    world: FinishedRound,  # noqa: F811
    tmp_path,
    record_property,
    name,
):
    project, out = tmp_path / "project", tmp_path / "out"
    shutil.copytree(world.project, project)
    out.mkdir()
    shutil.copytree(world.root / "test", tmp_path / "more")
    for path in (tmp_path / "more").rglob("*.png"):
        path.write_bytes(path.read_bytes() + b" ")  # another image
    images = sorted((world.root / "images").glob("0*.png"))[10:]
    (tmp_path / "labels.csv").write_text("filepath,label\n" + "".join(f"{path},dog\n" for path in images))
    names = {"PROJECT": project, "LABELS": tmp_path / "labels.csv", "MORE": tmp_path / "more"}
    names |= {"CLASSIFIER": world.root / "classifier", "IMAGES": world.root / "test"}
    command = [names.get(str(part), str(part).replace("OUT", str(out))) for part in COMMANDS[name]]
    before, failed = replay(open_store(project).log.read()), 0
    for space in SPACE:
        with full_disk(space):
            result = gradebook(*command)
        if result.status == 0:
            break
        if name == "train" and (project / "runs" / "two" / "config.json").exists():
            command = ["train", project, "--run", "two", "--resume"]
        failed += 1
        *_, sentence = result.err.splitlines()
        assert sentence.startswith("gradebook: ") and "free some" in sentence, result.err
        assert "Traceback" not in result.err
        assert contents(out) == [] or name in CONTINUED, "no part of a result is left"
        assert all(f.repair or f.is_warning for f in verify(project, content=True).findings), "nothing is lost"
        assert replay(open_store(project).log.read()).items() >= before.items()
    if result.status != 0:
        done(*command)
    record_property("attempts", failed)
    assert failed > 0
    assert verify(project, content=True, repair=True).is_sound
