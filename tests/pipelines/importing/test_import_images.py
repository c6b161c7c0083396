"""Importing: what becomes of every file, of repeats, and of files that changed or moved."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from gradebook.pipelines.importing import import_images as job
from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage.samples import Split, sample_id
from tests.pipelines.importing.folders import copy, counts, csv, put


def test_a_folder_becomes_samples_in_order_of_path_and_is_unchanged(store, images):
    for seed, name in enumerate(["b/2.png", "a/1.jpg", "a/deep/er/3.webp", "0.bmp"]):
        put(images / name, seed, size=(20 + seed, 12))
    (images / "notes.txt").write_text("not an image")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in images.rglob("*.*")}
    report = import_images(store, images)
    assert counts(report) == {"imported": 4}
    samples = store.catalog.samples()
    assert [Path(s.filepath).name for s in samples] == ["0.bmp", "1.jpg", "3.webp", "2.png"]
    assert [s.sample_id for s in samples] == [sample_id(Path(s.filepath).read_bytes()) for s in samples]
    assert (samples[0].width, samples[0].height, samples[0].split) == (23, 12, Split.TRAIN)
    assert [f.filepath for f in store.catalog.files()] == sorted(s.filepath for s in samples)
    assert store.log.read() == []
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in images.rglob("*.*")} == before


def test_importing_again_finds_nothing_new_and_reads_nothing(store, images, monkeypatch):
    for seed in range(3):
        put(images / "cat" / f"{seed}.png", seed)
    import_images(store, images, labels="folders")
    events, version = store.log.read(), store.log.version()
    monkeypatch.setattr(job, "read_images", lambda *_: pytest.fail("a file that is known was read again"))
    report = import_images(store, images, labels="folders")
    assert counts(report) == {"already_known": 3}
    assert (store.log.read(), store.log.version()) == (events, version)


def test_a_file_that_was_only_touched_is_the_same_sample(quick, images):
    path = put(images / "a.png")
    import_images(quick, images)
    os.utime(path, ns=(5, 5))
    assert counts(import_images(quick, images)) == {"already_known": 1}
    assert quick.catalog.files()[0].mtime_ns == 5


def test_identical_files_are_one_sample_and_reported(store, images):
    first = put(images / "a.png", 1)
    copies = [copy(first, images / name) for name in ("b.png", "c/d.png")]
    report = import_images(store, images)
    assert counts(report) == {"imported": 1, "duplicates": 2}
    assert report.duplicate_files == tuple((str(path), str(first)) for path in copies)
    assert len(store.catalog.samples()) == 1
    assert len(store.catalog.files()) == 3
    assert counts(import_images(store, images)) == {"already_known": 3}


def test_near_duplicates_are_reported_within_an_import_and_with_earlier_ones(quick, images):
    path = put(images / "one" / "a.png", 1, size=(64, 64))
    put(images / "one" / "b.png", 2, size=(64, 64))
    import_images(quick, images / "one")
    (images / "two").mkdir()
    with Image.open(path) as image:
        image.save(images / "two" / "c.jpg", quality=90)
        image.resize((50, 50)).save(images / "two" / "d.png")
    report = import_images(quick, images / "two")
    assert counts(report) == {"imported": 2, "near_duplicates": 2, "quality": 1}  # noise in a JPEG counts as blurred
    assert dict(report.near_duplicate_pairs)[str(images / "two" / "c.jpg")] == str(path)


def test_a_file_that_is_in_the_other_split_stays_there_and_is_listed(store, images):
    train = put(images / "train" / "a.png", 1)
    put(images / "train" / "b.png", 2)
    leak = copy(train, images / "test" / "a.png")
    put(images / "test" / "c.png", 3)
    import_images(store, images / "train")
    report = import_images(store, images / "test", split=Split.TEST)
    assert counts(report) == {"imported": 1, "test_images": 1, "duplicates": 1, "leaks": 1}
    assert report.leak_files == ((str(leak), "train"),)
    assert [Path(s.filepath).name for s in store.catalog.samples(Split.TEST)] == ["c.png"]
    assert import_images(store, images / "train", split=Split.TEST).leaks == 2


def test_broken_files_are_listed_with_their_error_and_the_rest_is_imported(store, images):
    put(images / "good.png")
    (images / "empty.png").touch()
    (images / "text.jpg").write_text("hello")
    cut = put(images / "cut.png", 3, size=(64, 64))
    cut.write_bytes(cut.read_bytes()[:200])
    (images / "nothing.png").symlink_to(images / "nowhere.png")
    os.mkfifo(images / "pipe.png")
    (images / "dir.png").mkdir()
    report = import_images(store, images)
    assert counts(report) == {"imported": 1, "broken": 5}
    sentences = {Path(path).name: sentence for path, sentence in report.broken_files}
    assert sentences["empty.png"] == "the file is empty"
    assert "not an image" in sentences["text.jpg"]
    assert "truncated or damaged" in sentences["cut.png"]
    assert "No such file" in sentences["nothing.png"]
    assert "not a file" in sentences["pipe.png"]
    put(images / "empty.png", 9)
    assert counts(import_images(store, images)) == {"imported": 1, "already_known": 1, "broken": 4}


def test_a_changed_file_is_a_new_sample_and_not_the_old_one(store, images):
    path = put(images / "cat" / "a.png", 1)
    import_images(store, images, labels="folders")
    (old,) = store.catalog.samples()
    put(path, 2)
    os.utime(path, ns=(1, 1))
    report = import_images(store, images, labels="folders")
    assert counts(report) == {"imported": 1, "changed": 1, "labelled": 1}
    (new,) = store.catalog.samples()
    assert new.sample_id == sample_id(path.read_bytes()) != old.sample_id
    assert store.catalog.get([old.sample_id]) == [old]


def test_files_that_moved_keep_their_samples_and_get_the_labels_of_their_new_folders(store, images):
    first = put(images / "in" / "a.png", 1)
    put(images / "in" / "b.png", 2)
    import_images(store, images)
    (images / "cat").mkdir()
    moved = first.rename(images / "cat" / "a.png")
    report = import_images(store, images, labels=csv(images / "l.csv", "filepath,label", "cat/a.png,cat"))
    assert counts(report) == {"already_known": 1, "moved": 1, "labelled": 1}
    assert report.moved_files == ((str(moved), str(first)),)
    assert sorted(s.filepath for s in store.catalog.samples()) == [str(moved), str(images / "in" / "b.png")]
    assert counts(import_images(store, images)) == {"already_known": 2}


def test_progress_grows_to_the_number_of_files(quick, images):
    for seed in range(7):
        put(images / f"{seed}.png", seed)
    for _ in range(2):
        reports: list[tuple[int, int]] = []
        import_images(quick, images, progress=lambda done, total, reports=reports: reports.append((done, total)))
        assert reports[-1] == (7, 7)
        assert reports == sorted(reports)


def test_large_files_are_read_by_threads_in_the_same_order(quick, images, monkeypatch):
    monkeypatch.setattr("gradebook.pipelines.importing.image_reader.MIN_BYTES_FOR_THREADS", 0)
    for seed in range(40):
        put(images / f"{seed:02d}.png", seed)
    (images / "07.png").write_text("no")
    report = import_images(quick, images)
    assert counts(report) == {"imported": 39, "broken": 1}
    samples = quick.catalog.samples()
    assert [s.sample_id for s in samples] == [sample_id(Path(s.filepath).read_bytes()) for s in samples]
    assert [s.filepath for s in samples] == sorted(s.filepath for s in samples)


def test_the_report_is_json(quick, images):
    put(images / "cat" / "a.png")
    copy(images / "cat" / "a.png", images / "dog" / "a.png")
    report = import_images(quick, images, labels="folders")
    assert json.loads(json.dumps(report.as_json()))["conflict_files"] == [
        [[str(images / "cat" / "a.png"), "cat"], [str(images / "dog" / "a.png"), "dog"]]
    ]
