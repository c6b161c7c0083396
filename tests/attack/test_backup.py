"""A backup has all of a project but the images, whatever is destroyed; a damaged or hostile one restores nothing."""

import errno
import json
import os
import shutil
import stat
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gradebook.pipelines.maintenance import backup as module
from gradebook.pipelines.maintenance.backup import MANIFEST, backup
from gradebook.pipelines.maintenance.restore import restore
from gradebook.pipelines.maintenance.verify import verify
from gradebook.storage.events import Kind, event
from gradebook.storage.files import DISK_FULL
from gradebook.storage.project import ProjectError
from gradebook.storage.store import open_store
from tests.attack.rounds import current_round, is_in_round
from tests.pipelines.cli.cli_runner import done
from tests.pipelines.maintenance.conftest import IMAGES, root, template  # noqa: F401


def contents(root: Path) -> dict[str, bytes]:  # noqa: F811
    """Returns the files of a project that a backup must have: path -> content."""
    parts = ("gradebook.json", "map.npz", "selections", "lance", "runs")
    files = [p for name in parts for p in [root / name, *(root / name).rglob("*")] if p.is_file()]
    return {str(p.relative_to(root)): p.read_bytes() for p in files if not p.name.startswith(".")}


@pytest.fixture
def project(root: Path) -> Path:  # noqa: F811
    """A project with some of everything."""
    (root / "selections").mkdir()
    (root / "selections" / "a.json").write_text("{}")
    (root / "map.npz").write_bytes(b"map")
    for name in ("thumbnails", "exports"):
        (root / name).mkdir()
        (root / name / "x.jpg").write_bytes(b"jpg")
    return root


@pytest.mark.parametrize("part", ["gradebook.json", "lance", "lance/events.lance", "lance/samples.lance", "runs", "."])
def test_each_destroyed_part_is_brought_back(project, tmp_path, part):
    before = contents(project)
    report = backup(project, tmp_path / "birds.zip")
    assert (report.files, report.runs, report.left_out) == (len(before), 2, ["exports", "thumbnails"])
    path = project / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = restore(tmp_path / "birds.zip", tmp_path / "again")
    assert contents(tmp_path / "again") == before
    assert (result.samples, result.events, result.runs, result.missing) == (IMAGES, report.events, 2, 0)
    assert verify(tmp_path / "again", content=True).findings == ()


def test_the_commands_say_what_was_done(project, tmp_path):
    written = json.loads(done("backup", project, tmp_path / "b.zip", "--json").out)
    assert written["events"] == 2 and written["bytes"] == (tmp_path / "b.zip").stat().st_size
    text = done("restore", tmp_path / "b.zip", tmp_path / "again").out
    assert "6 images, 2 events, 2 runs" in text


@pytest.mark.slow
def test_a_backup_is_consistent_while_others_write(project, tmp_path):
    store, over, written = open_store(project), threading.Event(), list[str]()
    sample = store.catalog.ids()[0]

    def review() -> None:
        while not over.is_set():
            (new,) = store.log.append_now([event(Kind.RELABELLED, sample, "dog", actor="zoe")])
            written.append(new.event_id)

    writer = threading.Thread(target=review)
    writer.start()
    try:
        for n in range(4):
            known = len(written)
            report = backup(project, tmp_path / f"{n}.zip")
            restore(tmp_path / f"{n}.zip", tmp_path / f"again-{n}")
            log = [e.event_id for e in open_store(tmp_path / f"again-{n}").log.read()][2:]
            assert len(log) == report.events - 2 >= known and log == written[: len(log)]
            assert verify(tmp_path / f"again-{n}", content=True).findings == ()
    finally:
        over.set()
        writer.join()


@pytest.mark.parametrize("link", ["runs/one/link.json", "selections/more"])
def test_a_backup_follows_no_link(project, tmp_path, link):
    (tmp_path / "secret").write_text("key")
    (project / link).symlink_to(tmp_path / "secret")
    with pytest.raises(ProjectError, match=f"{link} is a symbolic link"):
        backup(project, tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


@pytest.mark.parametrize("part", ["lance", "runs", "gradebook.json"])
def test_a_project_with_a_linked_part_is_refused(project, tmp_path, part):
    (project / part).rename(tmp_path / "elsewhere")
    (project / part).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ProjectError, match=f"{part} is a symbolic link"):
        backup(project, tmp_path / "b.zip")


def test_a_backup_in_the_project_itself_is_refused(project):
    with pytest.raises(ProjectError, match="would be lost with it: choose another directory"):
        backup(project, project / "exports" / ".." / "backup.zip")


def test_no_file_is_overwritten_and_no_half_a_backup_is_left(project, tmp_path, monkeypatch):
    (tmp_path / "mine.zip").write_text("mine")
    with pytest.raises(ProjectError, match="exists already: choose another name"):
        backup(project, tmp_path / "mine.zip")
    with pytest.raises(ProjectError, match="no directory"):
        backup(project, tmp_path / "nowhere" / "b.zip")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module._Archive, "_copy", full)
    with pytest.raises(OSError) as error:
        backup(project, tmp_path / "b.zip")
    assert error.value.errno in DISK_FULL
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "project") == ["mine.zip"]
    assert (tmp_path / "mine.zip").read_text() == "mine"


def test_only_a_new_or_empty_directory_is_restored_into(project, tmp_path):
    backup(project, tmp_path / "b.zip")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for taken in ("full", "full/mine", "link"):
        with pytest.raises(ProjectError, match="not an empty directory"):
            restore(tmp_path / "b.zip", tmp_path / taken)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine"]
    restore(tmp_path / "b.zip", tmp_path / "empty")
    assert verify(tmp_path / "empty").findings == ()


def test_a_damaged_backup_restores_nothing(project, tmp_path, record_property):
    """A bit is flipped, or the rest cut off, at forty places of the archive."""
    backup(project, tmp_path / "b.zip")
    whole, refused, attempts = (tmp_path / "b.zip").read_bytes(), 0, 0
    for n in filter(is_in_round, range(40)):
        at = (len(whole) * n // 40 + current_round()) % len(whole)
        flipped = bytearray(whole)
        flipped[at] ^= 1 << n % 8
        for content in (bytes(flipped), whole[:at]):
            attempts += 1
            (tmp_path / "bad.zip").write_bytes(content)
            try:
                restore(tmp_path / "bad.zip", tmp_path / "again")
            except ProjectError:
                refused += 1
            else:  # a bit that says nothing of the content, such as a date
                assert contents(tmp_path / "again") == contents(project)
                shutil.rmtree(tmp_path / "again")
            assert not list(tmp_path.glob("*again*"))
    record_property("attempts", attempts)
    assert refused >= 0.75 * attempts


def rewritten(source: Path, target: Path, change: Callable[[dict, zipfile.ZipFile], None]) -> Path:
    """Writes a backup again after `change` has had its manifest and may add entries."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        manifest = json.loads(old.read(MANIFEST))
        for name in old.namelist():
            if name != MANIFEST:
                new.writestr(name, old.read(name))
        change(manifest, new)
        new.writestr(MANIFEST, json.dumps(manifest))
    return target


def hostile(name: str, mode: int = 0) -> Callable[[dict, zipfile.ZipFile], None]:
    def change(manifest, new):
        info = zipfile.ZipInfo("placeholder")
        info.filename, info.external_attr = name, mode << 16
        new.writestr(info, b"/etc/passwd")
        manifest["files"][name] = {"size": 11, "sha256": "0" * 64}

    return change


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../outside", 0),
        ("/tmp/gradebook-outside", 0),
        ("runs/../../outside", 0),
        ("runs\\..\\..\\outside", 0),
        ("C:outside", 0),
        ("runs//x", 0),
        ("./x", 0),
        ("runs/link", stat.S_IFLNK | 0o777),
        ("runs/pipe", stat.S_IFIFO | 0o666),
    ],
)
def test_a_hostile_backup_writes_nothing_outside_and_makes_no_link(project, tmp_path, name, mode):
    backup(project, tmp_path / "b.zip")
    bad = rewritten(tmp_path / "b.zip", tmp_path / "bad.zip", hostile(name, mode))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ProjectError, match=r"unsafe entry|does not have the files"):
        restore(bad, tmp_path / "again")
    assert sorted(os.listdir(tmp_path)) == before and not Path("/tmp/gradebook-outside").exists()


def forget_settings(manifest: dict, new: zipfile.ZipFile) -> None:
    del manifest["files"]["gradebook.json"]


def grow(manifest: dict, new: zipfile.ZipFile) -> None:
    manifest["files"]["map.npz"]["size"] = 1


def newer(manifest: dict, new: zipfile.ZipFile) -> None:
    manifest["version"] = 99


def foreign(manifest: dict, new: zipfile.ZipFile) -> None:
    manifest["format"] = "another"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (forget_settings, "does not have the files that its manifest names"),
        (grow, "map.npz in .* does not match its checksum"),
        (newer, "newer gradebook"),
        (foreign, "is no backup"),
    ],
)
def test_another_archive_is_refused_in_a_sentence(project, tmp_path, change, sentence):
    backup(project, tmp_path / "b.zip")
    with pytest.raises(ProjectError, match=sentence):
        restore(rewritten(tmp_path / "b.zip", tmp_path / "bad.zip", change), tmp_path / "again")
    assert not list(tmp_path.glob("*again*"))


def test_what_is_no_zip_file_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(ProjectError, match="damaged, or no zip file"):
        restore(tmp_path / "x.zip", tmp_path / "again")
