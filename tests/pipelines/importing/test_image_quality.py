"""Images with quality problems are reasons to review, with cleanvision's measures and thresholds."""

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.cli.formatting import import_summary
from gradebook.pipelines.curation.queue_items import QUALITY, sentence_of
from gradebook.pipelines.curation.review_queue import rank
from gradebook.pipelines.importing import image_quality
from gradebook.pipelines.importing.import_images import import_images
from gradebook.storage.project import create_project
from gradebook.storage.quality import Flag, LanceQuality, MemoryQuality
from gradebook.storage.store import Store, memory_store


@pytest.fixture
def store(tmp_path) -> Store:
    return memory_store(create_project(tmp_path / "project", ["a"]))


@pytest.fixture
def images(tmp_path):
    folder, random = tmp_path / "images", np.random.default_rng(0)
    folder.mkdir()

    def noise() -> Image.Image:
        return Image.fromarray(random.integers(0, 256, (96, 96, 3), dtype=np.uint8))

    for n in range(4):
        noise().save(folder / f"plain{n}.png")
    noise().point(lambda level: level // 5).save(folder / "dark.png")
    noise().point(lambda level: 255 - level // 40).save(folder / "bright.png")
    y, x = np.mgrid[:96, :96] / 95
    Image.fromarray((255 * (0.6 * x + 0.4 * y * y)).astype(np.uint8)).save(folder / "blurred.png")  # no edge in it
    noise().resize((300, 40)).save(folder / "long.png")
    noise().resize((900, 900)).save(folder / "large.png")
    return folder


def test_an_import_names_dark_bright_blurred_and_oddly_sized_images(store, images):
    report = import_images(store, images)
    found = {path.rpartition("/")[2]: problems for path, problems in report.quality_files}
    assert report.quality_measured and report.quality == len(found)
    assert "dark" in found["dark.png"] and "bright" in found["bright.png"] and "blurred" in found["blurred.png"]
    assert "odd aspect ratio" in found["long.png"] and "odd size" in found["large.png"]
    assert not any(name.startswith("plain") for name in found)
    assert "have quality problems" in import_summary(report.as_json())


def test_a_problem_orders_the_queue_and_is_among_the_reasons(store, images):
    import_images(store, images)
    (row,) = rank(store, None, reason="dark")
    assert row.filepath.endswith("dark.png") and 0.5 <= row.reasons["dark"] <= 1
    assert sentence_of("dark") == QUALITY["dark"]
    assert {row.filepath.rpartition("/")[2] for row in rank(store, None) if "odd_size" in row.reasons} == {
        "large.png",
        "long.png",
    }


def test_without_cleanvision_an_import_says_that_quality_was_not_measured(store, images, monkeypatch):
    monkeypatch.setattr(image_quality, "is_available", lambda: False)
    report = import_images(store, images)
    assert not report.quality_measured and not report.quality_files and store.quality.read() == {}
    assert "image quality was not measured: " in import_summary(report.as_json())


@pytest.mark.parametrize("table", [lambda path: MemoryQuality(), LanceQuality], ids=["memory", "lance"])
def test_of_a_problem_that_is_noted_twice_the_last_score_counts(table, tmp_path):
    quality = table(tmp_path / "lance")
    assert quality.read() == {}
    quality.add([Flag("s0", "dark", 0.6), Flag("s1", "bright", 0.7)])
    quality.add([Flag("s0", "dark", 0.9), Flag("s0", "blurred", 0.5)])
    assert quality.read() == {"s0": {"dark": 0.9, "blurred": 0.5}, "s1": {"bright": 0.7}}
