"""Images of a project are decoded once, and nothing but the time changes."""

import shutil

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.image_cache import SquareImages
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.maintenance.forget import forget
from gradebook.pipelines.maintenance.verify import verify
from gradebook.pipelines.training.image_loader import ImageFiles
from gradebook.storage.images import BrokenImage
from gradebook.storage.project import create_project
from gradebook.storage.sample_files import ChangedFile
from gradebook.storage.store import open_store

N, SIZE = 4, 12


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(N):
        pixels = np.random.default_rng(n).integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.jpg", quality=90)
    store = open_store(create_project(tmp_path / "project", ["cat", "dog"]).root)
    import_images(store, folder)
    return store


def opened(store, size: int = SIZE) -> SquareImages:
    samples = store.catalog.samples()
    return SquareImages(store.project, [s.filepath for s in samples], [s.sample_id for s in samples], size)


def decoded(store, size: int = SIZE) -> list[np.ndarray]:
    files = ImageFiles([s.filepath for s in store.catalog.samples()], size)
    return [files.read(n) for n in range(N)]


def kept(store) -> list[str]:
    return sorted(path.name for path in store.project.root.glob("squares/*/*/*"))


def names(store) -> list[str]:
    return sorted(f"{s.sample_id}.rgb" for s in store.catalog.samples())


def test_an_image_that_was_read_once_is_read_without_its_file(store, tmp_path):
    expected = decoded(store)
    assert all(np.array_equal(opened(store).read(n), image) for n, image in enumerate(expected))
    assert kept(store) == names(store)
    shutil.rmtree(tmp_path / "images")
    again = [opened(store).read(n) for n in range(N)]
    assert all(np.array_equal(one, other) for one, other in zip(again, expected, strict=True))
    assert all(image.flags.writeable for image in again), "torch warns of tensors on memory that cannot be written to"
    with pytest.raises(BrokenImage, match=r"0\.jpg cannot be read"):
        opened(store, SIZE + 1).read(0)


def test_an_image_smaller_than_its_square_is_not_cached(store):
    expected = decoded(store, 200)
    assert all(np.array_equal(opened(store, 200).read(n), image) for n, image in enumerate(expected))
    assert kept(store) == []


def test_a_changed_file_is_neither_read_nor_cached_as_its_sample(store):
    path = store.catalog.samples()[0].filepath
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).resize((900, 900)).save(path, quality=100)
    with pytest.raises(ChangedFile, match=r"0\.jpg cannot be used: the file has changed since it was imported"):
        opened(store).read(0)
    assert kept(store) == []


def test_a_truncated_square_is_computed_again(store):
    first = opened(store).read(0)
    (path,) = store.project.root.glob("squares/*/*/*.rgb")
    path.write_bytes(path.read_bytes()[:-1])
    assert np.array_equal(opened(store).read(0), first)
    assert path.stat().st_size == first.size


def test_a_full_disk_stops_the_cache_and_is_reported_once(store, full_disk, capsys):
    reader = opened(store)
    assert all(np.array_equal(reader.read(n), image) for n, image in enumerate(decoded(store)))
    assert kept(store) == []
    assert capsys.readouterr().err.count("(No space left on device), so they are decoded") == 1


def test_a_read_only_directory_stops_no_training(store, capsys):
    (store.project.root / "squares").write_text("in the way")
    reader = opened(store)
    assert all(np.array_equal(reader.read(n), image) for n, image in enumerate(decoded(store)))
    assert capsys.readouterr().err.count("can no longer be cached") == 1


def test_a_square_half_written_by_a_killed_process_is_found_and_deleted(store):
    opened(store).read(0)
    (path,) = store.project.root.glob("squares/*/*/*.rgb")
    draft = path.with_name(f".{path.name}.4194305")  # above the largest id of a process
    draft.write_bytes(b"half")
    (finding,) = verify(store.project.root).findings
    assert finding.where == (str(draft),)
    verify(store.project.root, repair=True)
    assert kept(store) == [path.name]


def test_forgetting_an_image_deletes_its_square(store, tmp_path):
    for n in range(N):
        opened(store).read(n), opened(store, SIZE + 1).read(n)
    gone, *others = store.catalog.samples()
    (tmp_path / "images" / "0.jpg").unlink()
    assert gone.filepath.endswith("0.jpg")
    forget(store, tmp_path / "images")
    assert kept(store) == sorted(2 * [f"{s.sample_id}.rgb" for s in others])
