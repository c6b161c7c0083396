"""Predicting needs onnxruntime, Pillow and NumPy, and no other package."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import gradebook
from tests.pipelines.blocked_imports import run_without

NEEDED = {"PIL", "google", "flatbuffers", "numpy", "onnxruntime", "packaging"}  # and what onnxruntime itself imports
CODE = """
import json, sys
import gradebook

(prediction,) = gradebook.load_classifier(sys.argv[1]).predict(sys.argv[2])
print(json.dumps(prediction.as_json()))
try:
    gradebook.load_classifier(sys.argv[2])
except gradebook.ProjectError as error:
    assert "holds no exported classifier" in str(error)
"""


@pytest.fixture(scope="module")
def classifier(finished, tmp_path_factory):
    directory = tmp_path_factory.mktemp("small") / "classifier"
    gradebook.open(finished).run().export(directory)
    return directory


@pytest.mark.slow
def test_a_classifier_predicts_where_no_other_package_can_be_imported(classifier, photos):
    others = set(packages_distributions()) - NEEDED - {"gradebook"}
    done = run_without(sorted(others), CODE, str(classifier), str(photos / "train" / "003.png"))
    assert done.returncode == 0, done.stderr
    (expected,) = gradebook.load_classifier(classifier).predict(photos / "train" / "003.png")
    assert json.loads(done.stdout) == expected.as_json()


def test_the_exported_program_predicts_without_gradebook_and_any_other_package(classifier, photos, tmp_path):
    moved = shutil.copytree(classifier, tmp_path / "elsewhere")
    formula = shutil.copy(photos / "train" / "003.png", tmp_path / "=1.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    program = str(moved / "predict.py")
    code = f"import runpy, sys; sys.path.insert(0, {str(moved)!r}); runpy.run_path({program!r}, run_name='__main__')"
    others = sorted((set(packages_distributions()) | {"gradebook"}) - NEEDED)
    assert {"torch", "timm", "streamlit", "fiftyone", "lancedb", "accelerate"} <= set(others)
    done = run_without(others, code, str(photos / "train"), formula, str(tmp_path / "broken.png"))
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    expected = gradebook.load_classifier(classifier).predict([*sorted((photos / "train").iterdir()), formula])
    assert [row["label"] for row in rows] == [one.label for one in expected]
    assert [float(row["cat"]) for row in rows] == pytest.approx(
        [one.probabilities["cat"] for one in expected], abs=1e-6
    )
    assert "broken.png" in done.stderr and rows[-1]["filepath"] == str(formula)
    nothing = run_without(others, code, str(tmp_path / "elsewhere"))
    assert nothing.returncode == 2 and "there are no images there" in nothing.stderr


def test_the_requirements_beside_the_program_are_the_extra_predict(classifier):
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert (classifier / "requirements.txt").read_text().split() == extras["project"]["optional-dependencies"][
        "predict"
    ]


@pytest.mark.slow
def test_a_classifier_predicts_in_an_environment_of_three_packages(classifier, photos, tmp_path):
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    made = subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, tmp_path / "env"], capture_output=True)
    python = tmp_path / "env" / "bin" / "python"
    install = ["uv", "pip", "install", "--quiet", "--offline", "--python", python, "numpy", "onnxruntime", "pillow"]
    if made.returncode or subprocess.run(install, capture_output=True).returncode:
        pytest.skip("the three packages are not in uv's cache")
    command = [python, "-c", CODE, classifier, photos / "train" / "003.png"]
    environment = os.environ | {"PYTHONPATH": str(Path(gradebook.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] in ("cat", "dog")
