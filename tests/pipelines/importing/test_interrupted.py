"""An import that is stopped or killed, and what the next one makes of it."""

import random
import signal
import time
from pathlib import Path

import pytest

from gradebook.pipelines.importing import import_images as job
from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage.events import replay
from gradebook.storage.project import create_project
from gradebook.storage.samples import sample_id
from gradebook.storage.store import open_store
from tests.crash_injection import dying_after
from tests.forkserver import forked
from tests.pipelines.importing.folders import copy, counts, labels, put
from tests.polling import until


def test_ctrl_c_keeps_finished_work_and_the_next_call_continues(store, images, monkeypatch):
    monkeypatch.setattr(job, "CHUNK", 4)
    for seed in range(10):
        put(images / "cat" / f"{seed}.png", seed)

    def stop(done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(job, "PROGRESS_INTERVAL", 1)
    with pytest.raises(KeyboardInterrupt):
        import_images(store, images, labels="folders", progress=stop)
    assert len(store.catalog.samples()) == 4
    report = import_images(store, images, labels="folders")
    assert counts(report) == {"imported": 6, "already_known": 4, "labelled": 10}
    assert len(labels(store)) == 10


def test_an_import_killed_before_any_of_its_writes_ends_as_if_it_had_not_been(images, tmp_path, monkeypatch):
    for seed in range(10):
        put(images / "cd"[seed % 2] / f"{seed}.png", seed, size=(8, 8))
    copy(images / "c" / "0.png", images / "d" / "copy.png")
    copy(images / "c" / "2.png", images / "c" / "copy.png")
    monkeypatch.setattr(job, "CHUNK", 4)
    monkeypatch.setattr(job, "EVENTS_BATCH", 4)
    whole, dying = (open_store(create_project(tmp_path / name, ["c", "d"]).root) for name in ("whole", "dying"))
    import_images(whole, images, labels="folders")
    for survived in (0, 1, 1, 1, 2, 1, 1):  # so that it dies before samples, before files and before events
        with dying_after(survived):
            import_images(dying, images, labels="folders")
    import_images(dying, images, labels="folders")
    assert dying.catalog.samples() == whole.catalog.samples()
    assert dying.catalog.files() == whole.catalog.files()
    assert replay(dying.log.read()) == replay(whole.log.read())
    assert len(dying.log.read()) == len(whole.log.read()) == 9


def test_a_file_of_a_killed_import_is_not_its_own_duplicate(images, tmp_path, monkeypatch):
    put(images / "a.png")
    dying = open_store(create_project(tmp_path / "dying", []).root)
    with monkeypatch.context() as dead:
        dead.setattr(type(dying.catalog), "_add_files", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            import_images(dying, images)
    assert counts(import_images(dying, images)) == {"already_known": 1}
    assert [file.filepath for file in dying.catalog.files()] == [str(images / "a.png")]


def test_kill_9_at_a_random_moment_loses_and_duplicates_nothing(images, tmp_path):
    for seed in range(60):
        put(images / "cd"[seed % 2] / f"{seed:02d}.png", seed, size=(8, 8))
    copy(images / "c" / "00.png", images / "d" / "zz.png")
    root = create_project(tmp_path / "project", []).root
    with forked(_import, root, images) as importing:
        until(lambda: list((root / "lance").glob("*.lance")))
        time.sleep(random.uniform(0, 0.5))
        importing.kill()
    assert importing.exitcode in (0, -signal.SIGKILL)
    store = open_store(root)
    report = import_images(store, images, labels="folders")
    assert report.imported + report.already_known + report.duplicates == 61
    assert report.conflicts == 1
    samples = store.catalog.samples()
    assert sorted(s.sample_id for s in samples) == sorted({sample_id(p.read_bytes()) for p in images.rglob("*.png")})
    expected = {Path(s.filepath).name: Path(s.filepath).parent.name for s in samples}
    assert labels(store) == {name: label for name, label in expected.items() if name != "00.png"}
    assert len(store.log.read()) == 59


def _import(root: Path, images: Path) -> None:
    job.CHUNK, job.EVENTS_BATCH = 3, 7
    import_images(open_store(root), images, labels="folders")
