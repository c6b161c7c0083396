"""`gradebook predict --out`: a file that stays usable after a stop and is continued."""

import csv
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.cli.main import main
from gradebook.pipelines.inference import predict as predicting
from gradebook.pipelines.inference import predict_csv
from gradebook.pipelines.inference.predict_csv import into_file
from gradebook.storage.project import ProjectError

IMAGES = 9


class ByBrightness:
    """A classifier of four pixels a side that goes by how bright an image is."""

    classes: ClassVar = ["dark, or black", "bright"]
    size: ClassVar = 4
    ranges: ClassVar = {}
    asked: ClassVar[list[int]] = []
    weights: ClassVar[str] = "first"

    def __init__(self, directory: Path):
        pass

    def digest(self) -> str:
        return self.weights

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        self.asked.append(len(images))
        bright = images.mean((1, 2, 3)) / 255
        return np.stack([1 - bright, bright], 1)


@pytest.fixture
def images(tmp_path, monkeypatch) -> Path:
    for module in (predicting, predict_csv):
        monkeypatch.setattr(module, "Classifier", ByBrightness)
    monkeypatch.setattr(ByBrightness, "asked", [])
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(IMAGES):
        Image.new("RGB", (8, 6), (25 * n,) * 3).save(folder / f"{n}, or “{n}”.png")
    return folder


def refuse(sentence: str) -> None:
    raise AssertionError(sentence)


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_each_image_has_its_row(images, tmp_path):
    out = tmp_path / "predictions.csv"
    assert into_file(out, tmp_path, [images], broken=refuse) == {"predicted": IMAGES, "before": 0}
    head, *found = rows(out)
    assert head[:5] == ["filepath", "label", "probability", "probability of dark, or black", "probability of bright"]
    assert head[5:] == ["model", "size", "mtime_ns"]
    assert [Path(row[0]).name[0] for row in found] == [str(n) for n in range(IMAGES)]
    for n, (path, label, probability, dark, bright, *key) in enumerate(found):
        assert key == ["first", str(Path(path).stat().st_size), str(Path(path).stat().st_mtime_ns)]
        assert float(bright) == pytest.approx(25 * n / 255, abs=1e-5)
        assert (label, probability) == (("bright", bright) if 25 * n > 127 else ("dark, or black", dark))


def test_a_file_truncated_anywhere_is_continued(images, tmp_path):
    out = tmp_path / "predictions.csv"
    into_file(out, tmp_path, [images], broken=refuse)
    whole = out.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole)]:
        out.write_bytes(whole[:length])
        ByBrightness.asked.clear()
        done = into_file(out, tmp_path, [images], broken=refuse)
        assert out.read_bytes() == whole, length
        assert done["predicted"] + done["before"] == IMAGES
        assert sum(ByBrightness.asked) == done["predicted"]
    assert done == {"predicted": 0, "before": IMAGES}


@pytest.mark.parametrize(
    "content", [b"my notes\r\n", b"no line", b"filepath,label,probability\r\n1,2,3\r\n", b"\xff\xfe\r\n"]
)
def test_a_file_of_another_kind_is_refused(images, tmp_path, content):
    out = tmp_path / "notes.txt"
    out.write_bytes(content)
    with pytest.raises(ProjectError, match=r"notes\.txt holds other data .*choose another --out"):
        into_file(out, tmp_path, [images], broken=refuse)
    assert out.read_bytes() == content


def test_progress_counts_files_read_ahead_of_the_network(images, tmp_path):
    reports: list[tuple[int, int]] = []
    found = predicting.predict(
        tmp_path, [images], batch=2, broken=refuse, progress=lambda done, total: reports.append((done, total))
    )
    assert [Path(p.filepath).name[0] for p in found] == [str(n) for n in range(IMAGES)]
    assert reports == [(2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]


def test_the_command_prints_what_was_predicted_and_what_failed(images, tmp_path, capsys):
    (images / "broken.png").write_bytes(b"no image")
    out = tmp_path / "predictions.csv"
    assert main(["predict", str(tmp_path), str(images), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"9 images predicted, 0 before: {out}\n"
    assert "broken.png cannot be used" in printed.err
    assert main(["predict", str(tmp_path), str(images), "--out", str(out), "--json"]) == 0
    assert capsys.readouterr().out == '{"predicted": 0, "before": 9}\n'


def test_rows_of_another_model_are_refused(images, tmp_path, monkeypatch):
    out = tmp_path / "predictions.csv"
    into_file(out, tmp_path, [images], broken=refuse)
    before = out.read_bytes()
    monkeypatch.setattr(ByBrightness, "weights", "second")
    with pytest.raises(ProjectError, match="holds predictions of another model: choose another --out, or delete it"):
        into_file(out, tmp_path, [images], broken=refuse)
    assert out.read_bytes() == before


def test_a_file_that_was_replaced_is_predicted_again_and_its_old_row_is_gone(images, tmp_path, capsys):
    out = tmp_path / "predictions.csv"
    into_file(out, tmp_path, [images], broken=refuse)
    (first, *_) = sorted(images.iterdir())
    Image.new("RGB", (9, 6), "white").save(first)
    assert into_file(out, tmp_path, [images], broken=refuse) == {"predicted": 1, "before": IMAGES - 1}
    assert "1 images have changed since they were predicted" in capsys.readouterr().err
    of_first = [row for row in rows(out) if row[0] == str(first)]
    assert [row[1] for row in of_first] == ["bright"]
    assert len(rows(out)) == 1 + IMAGES


def test_rows_of_files_that_are_gone_stay(images, tmp_path):
    out = tmp_path / "predictions.csv"
    into_file(out, tmp_path, [images], broken=refuse)
    sorted(images.iterdir())[0].unlink()
    assert into_file(out, tmp_path, [images], broken=refuse) == {"predicted": 0, "before": IMAGES}


def test_a_file_that_is_given_twice_is_predicted_once(images, tmp_path):
    out = tmp_path / "predictions.csv"
    assert into_file(out, tmp_path, [images, images], broken=refuse) == {"predicted": IMAGES, "before": 0}


def test_the_digest_of_a_classifier_changes_with_its_model_and_its_classes(tmp_path):
    from gradebook.pipelines.inference.classifier import Classifier
    from tests.pipelines.colours import make_classifier

    directory = make_classifier(tmp_path / "exported")
    digest = Classifier(directory).digest()
    assert Classifier(directory).digest() == digest
    for name in ("classes.json", "model.onnx"):
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content.replace(b"blue", b"teal") if name == "classes.json" else content[:-1])
        try:
            assert Classifier(directory).digest() != digest
        except ProjectError:
            assert name == "model.onnx"
        (directory / name).write_bytes(content)
