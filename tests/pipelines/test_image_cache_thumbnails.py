"""Large images have thumbnails, made at import or at first use, and shown in the image's place."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines import image_cache
from gradebook.pipelines.image_cache import MIN_FILE_BYTES, THUMBNAIL_SIDE, open_preview
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.maintenance.forget import forget
from gradebook.pipelines.maintenance.verify import verify
from gradebook.storage import cache_files
from gradebook.storage.images import BrokenImage, open_rgb
from gradebook.storage.project import create_project
from gradebook.storage.sample_files import ChangedFile
from gradebook.storage.store import open_store

HUGE, MIDDLING, SMALL = (1600, 2800), (800, 1000), (60, 80)  # rows and columns: an import reads 1/8 of a huge one


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def store(tmp_path):
    return open_store(create_project(tmp_path / "project", ["cat", "dog"]).root)


def photograph(folder: Path, name: str, shape: tuple[int, int], seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(pixels).save(folder / name, quality=90)
    return folder / name


def imported(store, folder):
    import_images(store, folder)
    return store.catalog.samples()


def kept(store) -> list[Path]:
    return sorted(store.project.root.glob("thumbnails/*/*"))


def opened(store, sample, side: int = THUMBNAIL_SIDE) -> Image.Image:
    return open_preview(store.project, sample.sample_id, Path(sample.filepath), side)


def distance(one: Image.Image, other: Image.Image) -> float:
    size = (16, 12)
    return float(np.abs(np.asarray(one.resize(size), float) - np.asarray(other.resize(size), float)).mean())


def test_an_import_makes_thumbnails_of_large_files_only(store, folder):
    photograph(folder, "large.jpg", HUGE), photograph(folder, "small.jpg", SMALL)
    large, _ = imported(store, folder)
    (path,) = kept(store)
    assert path.stem == large.sample_id and path == cache_files.thumbnails(store.project).path(large.sample_id)
    thumbnail, image = Image.open(path), open_rgb(Path(large.filepath))
    assert thumbnail.format == "JPEG" and thumbnail.size == (THUMBNAIL_SIDE, round(THUMBNAIL_SIDE * HUGE[0] / HUGE[1]))
    assert distance(thumbnail, image) < 3, "it is the image"


def test_a_thumbnail_the_import_could_not_make_is_made_at_first_use(store, folder):
    assert photograph(folder, "middling.jpg", MIDDLING).stat().st_size > MIN_FILE_BYTES
    (sample,) = imported(store, folder)
    assert kept(store) == []
    first = opened(store, sample)
    assert max(first.size) >= THUMBNAIL_SIDE and len(kept(store)) == 1
    Path(sample.filepath).unlink()
    assert distance(opened(store, sample), first) < 3
    with pytest.raises(BrokenImage, match="cannot be read"):
        opened(store, sample, THUMBNAIL_SIDE + 1)


def test_a_large_image_is_shown_large(store, folder):
    photograph(folder, "large.jpg", HUGE)
    (sample,) = imported(store, folder)
    assert max(opened(store, sample, THUMBNAIL_SIDE).size) == THUMBNAIL_SIDE
    assert max(opened(store, sample, THUMBNAIL_SIDE + 1).size) > THUMBNAIL_SIDE


def test_a_small_file_is_shown_from_the_file(store, folder):
    photograph(folder, "small.jpg", SMALL)
    (sample,) = imported(store, folder)
    assert opened(store, sample).size == SMALL[::-1] and kept(store) == []


def test_a_damaged_thumbnail_is_computed_again(store, folder):
    photograph(folder, "large.jpg", HUGE)
    (sample,) = imported(store, folder)
    (path,) = kept(store)
    whole = opened(store, sample)
    path.write_bytes(path.read_bytes()[:500])
    assert distance(opened(store, sample), whole) < 3
    assert distance(open_rgb(path), whole) < 3


def test_a_changed_file_is_neither_shown_nor_cached_as_its_sample(store, folder):
    photograph(folder, "middling.jpg", MIDDLING)
    (sample,) = imported(store, folder)
    photograph(folder, "middling.jpg", MIDDLING[::-1], seed=1)
    with pytest.raises(ChangedFile, match="has changed since it was imported"):
        opened(store, sample)
    assert kept(store) == []


@pytest.mark.parametrize("same_time", [False, True], ids=["newer", "with the time of the original"])
def test_the_thumbnail_of_a_replaced_file_is_not_shown(store, folder, same_time):
    path = photograph(folder, "large.jpg", HUGE)
    (sample,) = imported(store, folder)
    status = path.stat()
    photograph(folder, "large.jpg", HUGE, seed=1)
    if same_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(kept(store)) == 1
    with pytest.raises(ChangedFile, match="has changed since it was imported"):
        opened(store, sample)
    photograph(folder, "large.jpg", HUGE)
    assert max(opened(store, sample).size) == THUMBNAIL_SIDE, "the imported image is there again"


def test_the_content_of_a_touched_file_is_compared_once(store, folder, monkeypatch):
    path = photograph(folder, "large.jpg", HUGE)
    (sample,) = imported(store, folder)
    path.touch()
    opened(store, sample)
    monkeypatch.setattr(image_cache, "file_problem", None)
    assert max(opened(store, sample).size) == THUMBNAIL_SIDE


def test_forgetting_an_image_deletes_its_thumbnail(store, folder):
    gone, stays = photograph(folder, "gone.jpg", HUGE), photograph(folder, "stays.jpg", HUGE, seed=1)
    samples = {sample.filepath: sample.sample_id for sample in imported(store, folder)}
    assert len(kept(store)) == 2
    gone.unlink()
    forget(store, folder)
    assert [path.stem for path in kept(store)] == [samples[str(stays)]]


def test_a_thumbnail_half_written_by_a_killed_process_is_found_and_deleted(store, folder):
    photograph(folder, "large.jpg", HUGE)
    imported(store, folder)
    (path,) = kept(store)
    draft = path.with_name(f".{path.name}.7.4194305")  # above the largest id of a process
    draft.write_bytes(b"half")
    assert list(cache_files.thumbnails(store.project).paths()) == [path]
    (finding,) = verify(store.project.root).findings
    assert finding.where == (str(draft),)
    verify(store.project.root, repair=True)
    assert kept(store) == [path]


def test_a_full_disk_stops_no_import_and_is_reported_once(store, folder, full_disk, capsys):
    photograph(folder, "one.jpg", HUGE), photograph(folder, "two.jpg", HUGE, seed=1)
    samples = imported(store, folder)
    assert len(samples) == 2 and kept(store) == []
    assert all(max(opened(store, sample).size) >= THUMBNAIL_SIDE for sample in samples)
    assert capsys.readouterr().err.count("(No space left on device), so they are decoded") == 1


def test_thumbnails_are_not_imported_as_images(store, folder, tmp_path):
    photograph(folder, "large.jpg", HUGE)
    before = imported(store, folder)
    import_images(store, tmp_path)  # which holds the project, too
    assert store.catalog.samples() == before
