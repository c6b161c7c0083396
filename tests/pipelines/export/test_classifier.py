"""The exported classifier is the student: in timm, in ONNX, and in `predict`, which needs nothing that trained it."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.models.resnet import ResNet

from gradebook.mpl.metrics import macro_f1
from gradebook.pipelines.embedding.embed import embed
from gradebook.pipelines.export import card_check, model_card
from gradebook.pipelines.export import classifier as module
from gradebook.pipelines.export.check_images import write_check_images
from gradebook.pipelines.export.classifier import Export, export
from gradebook.pipelines.export.directory import MARK
from gradebook.pipelines.export.model_card import card_programs
from gradebook.pipelines.importing.import_images import import_images
from gradebook.pipelines.inference.classifier import Classifier
from gradebook.pipelines.inference.evaluate import evaluate
from gradebook.pipelines.inference.predict import predict
from gradebook.pipelines.inference.scorer import Student
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training import student as students
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.presets import config_from_json
from gradebook.pipelines.training.student import load_run_student, predict_samples
from gradebook.storage.images import load, open_square
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import Split
from gradebook.storage.store import Store
from tests.pipelines.blocked_imports import run_without
from tests.pipelines.projects import CLASSES, SIDE, TEST, copy_of, make_project, trained

pytestmark = pytest.mark.slow

NETWORK = "test_resnet"  # small, and its classifier is one linear layer
FILES = [
    *("README.md", "classes.json", "config.json", "model.onnx", "model.safetensors", "predict.py", "preprocess.py"),
    "requirements.txt",
]

# Cached views are stored in float16: a student on them saw features that are rounded to a thousandth.
TOLERANCE = {"views": 1e-3, "pixels": 1e-5}


@dataclass(frozen=True)
class Exported:
    store: Store
    run: Run
    directory: Path
    answer: Export
    inputs: str

    def student(self) -> np.ndarray:
        """Returns the student's probabilities of every sample, (N, K)."""
        config = config_from_json(self.run.config())
        return predict_samples(load_run_student(self.run), config, self.store, self.store.catalog.samples())

    def files(self) -> list[Path]:
        return [Path(s.filepath) for s in self.store.catalog.samples()]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = make_project(tmp_path_factory.mktemp("project"))
    embed(store, backbone=NETWORK, weights="random", size=SIDE, views=4, seed=7)
    trained(store, "--backbone", NETWORK, "--student.lr", "1", run="views")
    trained(store, "--backbone", NETWORK, "--inputs", "pixels", "--student.lr", "0.1", run="pixels")
    return store


@pytest.fixture(scope="module", params=["views", "pixels"])
def exported(request, store, tmp_path_factory) -> Exported:
    run = Run(store.project.runs / request.param)
    directory = tmp_path_factory.mktemp("exported") / "classifier"
    return Exported(store, run, directory, export(store, run, directory), request.param)


def no_broken_file(_sentence: str) -> None:
    raise AssertionError("no file is broken here")


def test_an_export_has_exactly_the_files_it_lists(exported):
    assert exported.answer.files == FILES
    assert sorted(p.name for p in exported.directory.iterdir()) == [MARK, *FILES]
    assert exported.answer.dir == str(exported.directory)
    assert exported.answer.checked == 64
    assert exported.answer.largest_difference < TOLERANCE[exported.inputs]
    assert [p.name for p in exported.directory.parent.iterdir()] == ["classifier"], "no draft stays behind"


def test_the_onnx_model_predicts_as_the_student(exported):
    images = np.stack([np.asarray(open_square(f, SIDE)).transpose(2, 0, 1) for f in exported.files()])
    predicted = Classifier(exported.directory).probabilities(images)
    wanted = exported.student()
    np.testing.assert_allclose(predicted, wanted, rtol=0, atol=TOLERANCE[exported.inputs])
    assert np.ptp(wanted, axis=0).max() > 0.05, "the student tells images apart: the test is not vacuous"


def test_timm_loads_it_with_its_classes_and_its_preprocessing(exported):
    model = timm.create_model(f"local-dir:{exported.directory}", pretrained=True).eval()
    normal = model.pretrained_cfg
    assert (model.num_classes, normal["input_size"], normal["label_names"]) == (3, (3, SIDE, SIDE), list(CLASSES))
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model), is_training=False)
    images = torch.stack([transform(Image.open(f).convert("RGB")) for f in exported.files()[:20]])
    with torch.no_grad():
        predicted = model(images).softmax(-1).numpy()
    np.testing.assert_allclose(predicted, exported.student()[:20], rtol=0, atol=TOLERANCE[exported.inputs])


@pytest.mark.parametrize("number", [0, 1], ids=["onnxruntime", "timm"])
def test_the_cards_programs_predict_what_gradebook_predicts_on_images_of_every_kind(exported, tmp_path, number):
    program = card_programs((exported.directory / "README.md").read_text())[number]
    files = write_check_images(tmp_path)
    command = [sys.executable, "-c", card_check.RUN_CARD, program, *map(str, files)]
    done = subprocess.run(command, cwd=exported.directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    probabilities = np.array(json.loads(done.stdout.splitlines()[-1]))
    expected = [list(p.probabilities.values()) for p in predict(exported.directory, files, broken=no_broken_file)]
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-4)
    student = Student(exported.store.project.root, exported.run)
    images = np.stack([load(file, student.size) for file in files])
    np.testing.assert_allclose(probabilities, student.probabilities(images), rtol=0, atol=1e-4)
    assert np.ptp(probabilities, axis=0).max() > 0.05, "the images differ: the test is not vacuous"


@pytest.mark.parametrize("inputs", ["views", "pixels"])
def test_the_trainers_evaluation_sees_the_same_pixels(store, tmp_path, inputs):
    """Images of every kind, imported: what the run's student predicts for a sample is what `predict` predicts."""
    store = copy_of(store, tmp_path / "project")
    (tmp_path / "kinds").mkdir()
    write_check_images(tmp_path / "kinds")
    import_images(store, tmp_path / "kinds", split=Split.TEST)
    embed(store, backbone=NETWORK, weights="random", seed=7)
    run = Run(store.project.runs / inputs)
    samples = [s for s in store.catalog.samples(Split.TEST) if Path(s.filepath).parent.name == "kinds"]
    trained_on = predict_samples(load_run_student(run), config_from_json(run.config()), store, samples)
    scorer = Student(store.project.root, run)
    predicted = scorer.probabilities(np.stack([load(s.filepath, scorer.size) for s in samples]))
    np.testing.assert_allclose(predicted, trained_on, rtol=0, atol=TOLERANCE[inputs])


def test_a_card_whose_program_decodes_in_another_way_is_not_exported(store, tmp_path, monkeypatch):
    other = module.model_card

    def without_exif(*arguments, **options):
        plain = "numpy.asarray(PIL.Image.open('{}').convert('RGB').resize((SIZE, SIZE))).transpose(2, 0, 1)[None]"
        return (
            other(*arguments, **options)
            .replace(
                'preprocess.load("image.jpg", about["size"])[None]',
                plain.replace("'{}'", '"image.jpg"').replace("SIZE", str(SIDE)),
            )
            .replace("import json, onnxruntime, preprocess", "import json, numpy, onnxruntime, PIL.Image")
        )

    monkeypatch.setattr(module, "model_card", without_exif)
    with pytest.raises(ConfigError, match="the program in the model card differs from the student"):
        export(store, Run(store.project.runs / "views"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_predictions_of_files_are_those_of_the_student(exported):
    files = exported.files()
    predicted = list(predict(exported.directory, files, batch=7, broken=no_broken_file))
    assert [p.filepath for p in predicted] == [str(f) for f in files]
    for p, wanted in zip(predicted, exported.student(), strict=True):
        assert list(p.probabilities) == list(CLASSES)
        assert list(p.probabilities.values()) == pytest.approx(wanted.tolist(), abs=TOLERANCE[exported.inputs])
        assert p.probability == max(p.probabilities.values()) == p.probabilities[p.label]
        assert sum(p.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_the_model_card_has_labels_settings_and_scores(exported):
    card = (exported.directory / "README.md").read_text()
    score = evaluate(exported.store, exported.run)
    low, high = score.accuracy_interval
    accuracy = f"Accuracy {score.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%})"
    assert f"{accuracy} on the {TEST} labelled images of the test split" in card
    assert "from 12 labels" in card
    assert f"F1 {macro_f1(np.array(score.confusion)):.1%} (" in card
    assert all(f"| {name} | 4 |" in card for name in CLASSES)
    assert json.dumps(exported.run.config(), ensure_ascii=False) in card


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"temperature": 1.7, "held_out_calibration_error": {"before": 0.25, "after": 0.1}},
            "was 0.250 before and 0.100 after (15 bins).",
        ),
        ({"temperature": 1.7}, "scaled by the temperature 1.70"),  # a run of an earlier release
        ({}, ""),
    ],
)
def test_the_model_card_says_how_probabilities_were_calibrated(row, sentence):
    text = model_card._calibration(SimpleNamespace(metrics=lambda: [{"step": 1}, row]))
    assert sentence in text and bool(text) == bool(row)


def test_the_model_card_is_what_a_hub_lists(exported):
    yaml = pytest.importorskip("yaml")
    _, front, card = (exported.directory / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(front)
    assert (about["library_name"], about["pipeline_tag"]) == ("timm", "image-classification")
    score = evaluate(exported.store, exported.run)
    (metric,) = about["model-index"][0]["results"][0]["metrics"]
    assert metric == {"type": "accuracy", "value": pytest.approx(score.accuracy, abs=1e-4)}
    for title in ("Intended use", "Data and labels", "Scores", "Limits", "Licence"):
        assert f"## {title}\n" in card
    assert "Labels were given by: import (12)" in " ".join(card.split())
    rows = [f"| {name} | {' | '.join(map(str, row))} |" for name, row in zip(CLASSES, score.confusion, strict=True)]
    assert "\n".join(rows) in card


def test_the_onnx_model_says_what_a_program_must_know(exported):
    import onnxruntime

    session = onnxruntime.InferenceSession(exported.directory / "model.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(CLASSES)
    assert (about["size"], about["run"]) == (str(SIDE), exported.run.name)
    assert "EXIF" in about["preprocessing"] and about["gradebook_version"]


def test_int8_torch_and_openvino_copies_predict_nearly_the_same(store, tmp_path):
    openvino = pytest.importorskip("openvino")
    run = Run(store.project.runs / "views")
    answer = export(store, run, tmp_path / "out", int8=True, torch_program=True, openvino=True)
    assert {"model-int8.onnx", "model.pt2", "model.xml", "model.bin"} <= set(answer.files)
    assert answer.int8 is not None and answer.int8.compared == TEST
    assert answer.int8.accuracy_before == evaluate(store, run).accuracy
    assert abs(answer.int8.accuracy - answer.int8.accuracy_before) <= 0.25
    assert "instead of" in answer.int8.sentence()
    files = [Path(s.filepath) for s in store.catalog.samples()[:9]]
    pixels = np.stack([load(file, SIDE) for file in files])
    wanted = Classifier(tmp_path / "out").probabilities(pixels)
    small = Classifier(tmp_path / "out", "model-int8.onnx").probabilities(pixels)
    assert np.abs(small - wanted).mean() < 0.05
    assert not np.array_equal(small, wanted), "it is another model"
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    np.testing.assert_allclose(program(torch.from_numpy(pixels)).detach().numpy(), wanted, rtol=0, atol=1e-5)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(tmp_path / "out" / "model.xml", "CPU", exact)
    np.testing.assert_allclose(compiled(pixels)[0], wanted, rtol=0, atol=1e-4)
    assert answer.openvino is not None and answer.openvino <= 1e-4


def test_without_openvino_the_export_says_how_to_install_it_and_writes_nothing(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ProjectError, match=r"--openvino needs the package openvino: install it with: .*openvino"):
        export(store, Run(store.project.runs / "views"), tmp_path / "out", openvino=True)
    assert list(tmp_path.iterdir()) == []


def test_the_program_in_the_model_card_runs(exported, tmp_path):
    card = (exported.directory / "README.md").read_text()
    program = [line[4:] for line in card.splitlines() if line.startswith("    ")]
    start = next(n for n, line in enumerate(program) if line.startswith("import json"))
    lines = program[start : next(n for n, line in enumerate(program) if line.startswith("print(")) + 1]
    file = exported.files()[5]
    code = "\n".join(lines).replace('"image.jpg"', repr(str(file)))
    done = subprocess.run([sys.executable, "-c", code], cwd=exported.directory, capture_output=True, text=True)
    assert done.stdout.strip() == CLASSES[int(exported.student()[5].argmax())], done.stderr


# Where an export goes


def test_a_directory_with_other_files_is_refused(store, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    problems = {tmp_path: r"holds other files \(thesis\.txt\)", tmp_path / "thesis.txt": "is no directory"}
    for directory, problem in problems.items():
        with pytest.raises(ProjectError, match=f"{problem}.*: choose a new directory"):
            export(store, Run(store.project.runs / "views"), directory)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_exporting_again_replaces_the_earlier_export(store, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_onnx", lambda whole, path, *_: path.write_bytes(whole.size.to_bytes(2)))
    monkeypatch.setattr(module, "_compare", lambda *_: (0, 0.0))
    monkeypatch.setattr(module, "check_card", lambda *_: 0.0)
    for run in ("views", "pixels"):
        answer = export(store, Run(store.project.runs / run), tmp_path / "out")
        assert answer.files == FILES and answer.replaced is (run == "pixels")
        assert json.loads((tmp_path / "out" / "classes.json").read_text())["run"] == run
        assert f"# Classifier `{run}`" in (tmp_path / "out" / "README.md").read_text()


def test_a_model_that_is_not_the_student_is_not_exported(store, tmp_path, monkeypatch):
    """What happens when the backbone's weights have changed since the embedding."""
    made = students.timm_model

    def other(*args, **kwargs):
        torch.manual_seed(99)
        return made(*args, **kwargs)

    monkeypatch.setattr(students, "timm_model", other)
    with pytest.raises(ConfigError, match="the exported model differs from the student by"):
        export(store, Run(store.project.runs / "views"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_not_finished_is_not_exported(store, tmp_path):
    shutil.copytree(store.project.runs / "views", store.project.runs / "copy")
    (store.project.runs / "copy" / "student.safetensors").unlink()
    with pytest.raises(ConfigError, match="run copy has not finished"):
        export(store, Run(store.project.runs / "copy"), tmp_path / "out")
    shutil.rmtree(store.project.runs / "copy")


# Predicting


def test_folders_are_searched_and_repeated_files_predicted_twice(exported, tmp_path):
    one = exported.files()[0]
    (tmp_path / "deep" / "er").mkdir(parents=True)
    copy = tmp_path / "deep" / "er" / "copy.png"
    copy.write_bytes(one.read_bytes())
    (tmp_path / "deep" / "notes.txt").write_text("no image")
    predicted = list(predict(exported.directory, [one, tmp_path / "deep", one], broken=no_broken_file))
    assert [p.filepath for p in predicted] == [str(one), str(copy), str(one)]
    assert predicted[0].probabilities == predicted[1].probabilities == predicted[2].probabilities


def test_broken_images_are_reported_and_the_others_predicted(exported, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    sentences: list[str] = []
    predicted = list(
        predict(exported.directory, [tmp_path / "broken.png", exported.files()[0]], broken=sentences.append)
    )
    assert len(predicted) == 1
    assert len(sentences) == 1 and "broken.png cannot be used" in sentences[0]
    assert list(predict(exported.directory, [tmp_path / "broken.png"], broken=sentences.append)) == []


def test_an_impossible_prediction_is_a_one_line_error(exported, tmp_path):
    with pytest.raises(ProjectError, match=r"none\.png does not exist: give image files or folders"):
        list(predict(exported.directory, [tmp_path / "none.png"], broken=no_broken_file))
    with pytest.raises(ProjectError, match=r"holds no exported classifier .*make one with: gradebook export"):
        list(predict(tmp_path, exported.files(), broken=no_broken_file))
    (tmp_path / "classes.json").write_bytes((exported.directory / "classes.json").read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ProjectError, match=r"model\.onnx cannot be opened .*export it again"):
        list(predict(tmp_path, exported.files(), broken=no_broken_file))


TRAINERS = ("torch", "torchvision", "timm", "accelerate", "pyarrow", "pandas", "lancedb", "fiftyone", "streamlit")


def test_predicting_needs_nothing_that_trained_the_student(exported):
    file = exported.files()[3]
    code = "from gradebook.pipelines.cli.main import main; sys.exit(main(['predict', *sys.argv[1:], '--json']))"
    done = run_without(TRAINERS, code, str(exported.directory), str(file))
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = json.loads(done.stdout)
    (here,) = predict(exported.directory, [file], broken=no_broken_file)
    assert row == here.as_json()


@pytest.mark.parametrize("hidden", [64, 0], ids=["hidden units", "a classifier of several layers"])
def test_a_student_that_timm_cannot_load_is_exported_as_a_whole(store, tmp_path, monkeypatch, hidden):
    store = copy_of(store, tmp_path / "project")
    head = ("--student-hidden", str(hidden), "--student.lr", "0.05", "--average", "0")
    trained(store, "--backbone", NETWORK, "--method", "supervised", *head, steps=60)
    run = Run(store.project.runs / "r")
    if not hidden:
        monkeypatch.setattr(ResNet, "get_classifier", lambda model: torch.nn.Sequential(model.fc))
    whole = Exported(store, run, tmp_path / "out", export(store, run, tmp_path / "out"), "views")
    assert whole.answer.files == [name for name in FILES if name != "config.json"]
    predicted = np.array(
        [list(p.probabilities.values()) for p in predict(whole.directory, whole.files(), broken=no_broken_file)]
    )
    np.testing.assert_allclose(predicted, whole.student(), rtol=0, atol=5e-3)
    assert np.ptp(predicted, axis=0).max() > 0.05
    card = (whole.directory / "README.md").read_text()
    assert "timm has no model like it" in card and "local-dir" not in card
    of_head = [name for name in load_file(whole.directory / "model.safetensors") if name.startswith("1.")]
    assert len(of_head) == (5 if hidden else 3)
