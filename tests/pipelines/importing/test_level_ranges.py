"""Images of more than 8 bits are scaled by one range for the whole project, which it records and exports."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.embedding.view_dataset import _pixels
from gradebook.pipelines.export.classifier import _helper
from gradebook.pipelines.image_cache import SquareImages, open_preview
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.inference.classifier import Classifier, predict_content
from gradebook.pipelines.inference.predict import predict
from gradebook.storage import images
from gradebook.storage.project import create_project, read_project
from gradebook.storage.store import Store, open_store

RAMP = np.linspace(0, 1, 64)[None].repeat(40, 0)


@pytest.fixture
def store(tmp_path) -> Store:
    return open_store(create_project(tmp_path / "project", ["a"]).root)


def put(folder: Path, suffix: str, dtype: str, maxima: tuple[float, ...]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, maximum in enumerate(maxima):
        Image.fromarray((RAMP * maximum).astype(dtype)).save(folder / f"{number}{suffix}")
    return folder


def brightest(store: Store) -> list[int]:
    """Returns the brightest level of each image, as the embedding, the training and the app see it."""
    levels = read_project(store.project.root).levels
    seen = []
    for sample in sorted(store.catalog.samples(), key=lambda sample: sample.filepath):
        pixels = _pixels(sample, 64, levels)
        square = SquareImages(open_store(store.project.root).project, [sample.filepath], [sample.sample_id], 64).read(0)
        preview = open_preview(open_store(store.project.root).project, sample.sample_id, Path(sample.filepath), 64)
        assert np.array_equal(pixels, square) and pixels.max() == np.asarray(preview).max()
        seen.append(int(pixels.max()))
    return seen


@pytest.mark.parametrize(
    ("suffix", "dtype", "maxima", "kind", "white"),
    [
        (".tif", "float32", (1.0, 1.01, 0.4), "float", 1.01),
        (".tif", "float32", (3.0, 2.5, 1.2), "float", 3.0),
        (".tif", "float32", (1.0, 0.2), "float", 1.0),
        (".png", "uint16", (16383, 9000, 3000), "uint16", 16383.0),
        (".tif", "int32", (90_000, 45_000), "int", 90_000.0),
    ],
)
def test_all_images_have_one_range(store, tmp_path, suffix, dtype, maxima, kind, white, capsys):
    import_images(store, put(tmp_path / "images", suffix, dtype, maxima))
    ((found, (black, chosen)),) = read_project(store.project.root).levels.items()
    assert (found, black) == (kind, 0.0) and chosen == pytest.approx(white, rel=0.02)
    expected = [min(255, round(255 * maximum / chosen)) for maximum in maxima]
    assert brightest(store) == pytest.approx(expected, abs=2)
    assert f"become black to white in all {kind} images" in capsys.readouterr().err


def test_a_later_import_keeps_the_range_and_says_what_lies_beyond_it(store, tmp_path, capsys):
    import_images(store, put(tmp_path / "images", ".tif", "float32", (1.0,)))
    before = read_project(store.project.root)
    capsys.readouterr()
    import_images(open_store(store.project.root), put(tmp_path / "more", ".tif", "float32", (0.25, 7.0)))
    assert "1 of 2 new float images that were looked at have levels beyond 0 to 1" in capsys.readouterr().err
    assert read_project(store.project.root) == before
    assert brightest(store) == pytest.approx([255, 64, 255], abs=2)


def test_a_project_from_before_scales_each_file_by_itself(store, tmp_path):
    settings = store.project.root / "gradebook.json"
    content = json.loads(settings.read_text())
    del content["levels"]
    settings.write_text(json.dumps(content))
    store = open_store(store.project.root)
    import_images(store, put(tmp_path / "images", ".tif", "float32", (1.0, 0.4)))
    assert read_project(store.project.root).levels is None
    assert brightest(store) == [255, 255]


def test_16_bit_colour_is_scaled_only_where_it_is_dark_everywhere(store, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    folder = tmp_path / "images"
    folder.mkdir()
    for number, maximum in enumerate((16383, 3000)):
        levels = (RAMP * maximum).astype(np.uint16)[..., None].repeat(3, 2)
        tifffile.imwrite(folder / f"{number}.tif", levels, photometric="rgb")
    import_images(store, folder)
    assert brightest(store) == pytest.approx([255, 47], abs=2)


def test_the_range_of_one_image_is_that_of_the_rule_for_its_file(tmp_path):
    path = next(put(tmp_path / "images", ".tif", "float32", (0.4,)).iterdir())
    assert images.decode(path.read_bytes())[0].getextrema()[0] == (0, 255)
    assert images.decode(path.read_bytes(), ranges={"float": (0.0, 1.0)})[0].getextrema()[0] == (0, 102)


class Brightness:
    """Stands for onnxruntime's session: the probability of the second class is the mean level."""

    def __init__(self, *_, **__):
        pass

    def run(self, _, inputs):
        bright = inputs["images"].mean((1, 2, 3)) / 255
        return (np.stack([1 - bright, bright], 1).astype(np.float32),)


def test_an_exported_classifier_scales_by_the_range_of_the_project(tmp_path, monkeypatch):
    monkeypatch.setattr("onnxruntime.InferenceSession", Brightness)
    ranges = {"float": (0.0, 1.0)}
    about = {"classes": ["dark", "bright"], "size": 8, "levels": ranges}
    (tmp_path / "classes.json").write_text(json.dumps(about))
    path = next(put(tmp_path / "images", ".tif", "float32", (0.4,)).iterdir())
    classifier = Classifier(tmp_path)
    given = [*classifier.predict([path, Image.open(path)]), *predict(tmp_path, [path], broken=print)]
    seen = [prediction.probabilities["bright"] for prediction in given]
    seen.append(predict_content(classifier, path.read_bytes())["bright"])
    (tmp_path / "preprocess.py").write_text(_helper(ranges))
    program = f"import preprocess; print(preprocess.load({str(path)!r}, 8).mean() / 255)"
    alone = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = images.load(path, 8, ranges).mean() / 255
    assert [*seen, float(alone.stdout)] == pytest.approx([expected] * 5, abs=1e-6)
    assert expected < 0.3 < images.load(path, 8).mean() / 255
