"""Forgetting deleted files: verify no longer reports them, no event is lost, and an import brings them back."""

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.maintenance.forget import forget
from gradebook.pipelines.maintenance.verify import verify
from gradebook.storage.events import replay
from gradebook.storage.project import ProjectError, create_project
from gradebook.storage.store import open_store


@pytest.fixture
def store(tmp_path):
    for n in range(6):
        path = tmp_path / "images" / ("cat" if n < 3 else "dog") / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    store = open_store(create_project(tmp_path / "project", ["cat", "dog"]).root)
    import_images(store, tmp_path / "images", labels="folders")
    return store


def test_deleted_files_are_forgotten_until_they_are_imported_again(store, tmp_path):
    images, labels, before = tmp_path / "images", replay(store.log.read()), store.catalog.samples()
    kept = {path: path.read_bytes() for path in sorted((images / "cat").iterdir())[:2]}
    for path in kept:
        path.unlink()
    (finding,) = verify(store.project.root).findings
    assert f"gradebook forget {store.project.root} {images / 'cat'}" in finding.advice
    assert forget(store, images / "cat", dry_run=True) == [str(path) for path in kept]
    assert store.catalog.samples() == before
    assert forget(store, images / "cat") == [str(path) for path in kept]
    assert verify(store.project.root, content=True).findings == ()
    assert [s.filepath for s in store.catalog.samples()] == [
        s.filepath for s in before if s.filepath not in set(map(str, kept))
    ]
    assert replay(store.log.read()) == labels
    for path, content in kept.items():
        path.write_bytes(content)
    import_images(store, images, labels="folders")
    assert store.catalog.samples() == before and replay(store.log.read()) == labels


def test_present_or_unknown_files_cannot_be_forgotten(store, tmp_path):
    with pytest.raises(ProjectError, match="all 3 files of"):
        forget(store, tmp_path / "images" / "dog")
    with pytest.raises(ProjectError, match="nothing was imported from"):
        forget(store, tmp_path / "image")
    assert len(store.catalog.samples()) == 6
