import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradebook.pipelines.cli.train_command import parse_command
from gradebook.pipelines.inference.evaluate import evaluate_beside_data, is_beside_data
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run, find_run
from gradebook.pipelines.training import checkpoints, plain_datasets
from gradebook.pipelines.training.config import ConfigError, DataConfig
from gradebook.pipelines.training.image_loader import ImageArray, ImageFiles
from gradebook.pipelines.training.plain_datasets import choose_labelled, choose_validation, open_dataset
from gradebook.pipelines.training.presets import PRESETS
from gradebook.pipelines.training.run_setup import saved_config
from gradebook.pipelines.training.trainer import train
from gradebook.storage.project import ProjectError, read_project
from gradebook.storage.samples import Split
from tests.pipelines.blocked_imports import run_without

CLASSES, EACH, TESTS, SIDE = ("crow", "heron", "owl"), 12, 4, 32


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """An image folder whose classes differ in their colour."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for split, each in (("train", EACH), ("test", TESTS)):
        for k, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for n in range(each):
                pixels = random.integers(0, 120, (SIDE, SIDE, 3))
                pixels[..., k] += 130
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{name}-{n:02}.png")
    (root / "pool" / "deep").mkdir(parents=True)
    for n in range(5):
        Image.fromarray(np.full((SIDE, SIDE, 3), 40 * n, np.uint8)).save(root / "pool" / "deep" / f"{n}.png")
    return root


def flags(place: Path, images: Path, *extra: str, run: str = "r", steps: int = 4) -> list[str]:
    return [
        *(str(place), "--preset", "cifar10_cpu", "--data.images", str(images), "--data.labels", "9", "--run", run),
        *("--steps", str(steps), "--labelled", "6", "--unlabelled", "6", "--finetune-steps", "2", "--workers", "0"),
        *("--log-every", "2", "--checkpoint-every", "2", "--record-every", "1", "--precision", "no", *extra),
    ]


def trained(place: Path, images: Path, *extra: str, run: str = "r", steps: int = 4) -> Run:
    assert train(parse_command(flags(place, images, *extra, run=run, steps=steps), program="train", saved=saved_config))
    return find_run(read_project(place), run)


def config(images: Path, **options) -> DataConfig:
    return DataConfig(kind="folder", images=str(images), **options)


def opened(images: Path, **options):
    return open_dataset(config(images, **options), images, Split.TRAIN, size=SIDE)


def test_a_run_on_a_folder_writes_the_files_of_a_run_in_a_project(images, tmp_path):
    run = trained(tmp_path, images, "--data.validation", "6")
    assert run.status().state is State.FINISHED
    assert is_beside_data(run)
    assert read_project(tmp_path).classes == CLASSES
    known = run.labels()
    assert len(known) == 9 + 6
    assert all(Path(name).parent.name == label for name, label in known.items())
    assert {"record", "checkpoints", "predictions.parquet", "student.safetensors"} <= {
        p.name for p in run.path.iterdir()
    }
    found = evaluate_beside_data(read_project(tmp_path), run)
    assert (found.n, found.on, found.classes) == (3 * TESTS, "test split", list(CLASSES))


def test_a_run_learns_and_reports_its_pseudo_label_accuracy(images, tmp_path):
    run = trained(tmp_path, images, "--method", "fixmatch", "--threshold", "0.5", steps=40)
    assert evaluate_beside_data(read_project(tmp_path), run).accuracy > 0.9
    shares = [row["pseudo_label_accuracy"] for row in run.metrics() if "pseudo_label_accuracy" in row]
    assert len(shares) == 20
    assert np.mean(shares[-5:]) > 0.8


def test_a_stopped_run_on_a_folder_ends_as_one_that_was_not_stopped(images, tmp_path):
    from safetensors.torch import load_file

    whole = trained(tmp_path, images, run="whole")
    again = trained(tmp_path, images, run="again")
    shutil.rmtree(again.path / "checkpoints" / "step-000004")
    (again.path / "student.safetensors").unlink()
    assert checkpoints.newest_step(again.path / "checkpoints") == 2
    call = parse_command([str(tmp_path), "--resume", "--run", "again"], program="train", saved=saved_config)
    assert train(call)
    one, other = (load_file(run.path / "student.safetensors") for run in (whole, again))
    assert all((one[name] == other[name]).all() for name in one)


def test_a_resume_refuses_changed_images(images, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(images, mine)
    trained(tmp_path / "runs", mine)
    (mine / "train" / "owl" / "owl-00.png").unlink()
    with pytest.raises(ConfigError, match="the images have changed since r began: put them back"):
        train(parse_command([str(tmp_path / "runs"), "--resume", "--run", "r"], program="train", saved=saved_config))


@pytest.mark.slow
def test_plain_data_needs_neither_lancedb_nor_fiftyone_nor_streamlit(images, tmp_path):
    code = """
from gradebook.pipelines.cli.main import main

assert main(["train", *sys.argv[2:]]) == 0
sys.exit(main(["evaluate", sys.argv[1], "--json"]))
"""
    given = [str(tmp_path), *flags(tmp_path, images, steps=1), "--json"]
    done = run_without(["lancedb", "fiftyone", "streamlit"], code, *given)
    assert done.returncode == 0, done.stderr
    training, evaluation = map(json.loads, done.stdout.splitlines())
    assert (training["state"], evaluation["n"]) == ("finished", 3 * TESTS)


def test_images_that_fit_into_memory_are_decoded_once(images, monkeypatch):
    inside = opened(images)
    monkeypatch.setattr(plain_datasets, "MAX_BYTES_IN_MEMORY", 3 * EACH * SIDE * SIDE * 3 - 1)
    outside = opened(images)
    assert (type(inside.images), type(outside.images)) == (ImageArray, ImageFiles)
    for position in range(3 * EACH):
        assert (inside.images.read(position) == outside.images.read(position)).all()


def test_a_broken_image_is_named(images, tmp_path):
    shutil.copytree(images, tmp_path / "mine")
    (tmp_path / "mine" / "train" / "owl" / "owl-05.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"owl-05\.png cannot be used.*take it out of the folder"):
        opened(tmp_path / "mine")


def test_labels_are_drawn_evenly_and_the_same_for_a_seed(images):
    data = opened(images)
    shown = choose_labelled(config(images, labels=7), data, 3)
    assert sorted(np.bincount(data.truth[shown]).tolist()) == [2, 2, 3]
    assert shown.tolist() == choose_labelled(config(images, labels=7), data, 3).tolist()
    assert shown.tolist() != choose_labelled(config(images, labels=7), data, 4).tolist()
    aside = choose_validation(config(images, labels=7, validation=5), data, shown, 3)
    assert len(aside) == 5
    assert not set(aside) & set(shown)
    assert choose_labelled(config(images, labels=0), data, 3).tolist() == list(range(3 * EACH))


def test_a_list_names_the_labelled_images_by_path_or_by_name(images, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("train/crow/crow-03.png\n\nowl-01.png\n")
    data = opened(images)
    shown = choose_labelled(config(images, label_list=str(listed)), data, 0)
    assert [data.names[p] for p in shown] == ["train/crow/crow-03.png", "train/owl/owl-01.png"]
    listed.write_text("finch-01.png\n")
    with pytest.raises(ConfigError, match=r"names 1 images that do not exist, such as finch-01\.png"):
        choose_labelled(config(images, label_list=str(listed)), data, 0)


@pytest.mark.parametrize("as_table", [False, True])
def test_a_pool_has_no_labels(images, tmp_path, as_table):
    pool = images / "pool"
    if as_table:
        pool = tmp_path / "pool.csv"
        pool.write_text("filepath\n" + "\n".join(str(images / "pool" / "deep" / f"{n}.png") for n in range(5)))
    data = opened(images, pool=str(pool))
    assert data.truth[-5:].tolist() == [-1] * 5
    assert choose_labelled(config(images, labels=0, pool=str(pool)), data, 0).tolist() == list(range(3 * EACH))
    assert data.images.read(len(data.truth) - 1).tolist() == np.full((SIDE, SIDE, 3), 160).tolist()


class _Downloaded:
    """What torchvision gives: CIFAR-10 as (N, H, W, 3), SVHN as (N, 3, H, W)."""

    classes = ("plane", "car")

    def __init__(self, root, download, train=None, split=None):
        assert download
        self.data = np.arange(4 * 32 * 32 * 3, dtype=np.uint8).reshape(4, 32, 32, 3)
        self.targets = [0, 1, 1, 0]
        if split is not None:
            self.data, self.labels = self.data.transpose(0, 3, 1, 2), np.array(self.targets)


@pytest.mark.parametrize(("kind", "classes"), [("cifar10", 2), ("svhn", 10)])
def test_torchvisions_sets_are_images_in_memory(monkeypatch, tmp_path, kind, classes):
    monkeypatch.setattr(f"torchvision.datasets.{kind.upper()}", _Downloaded)
    data = open_dataset(DataConfig(kind=kind), tmp_path, Split.TRAIN, size=32)
    assert (len(data.classes), data.truth.tolist(), data.names[1]) == (classes, [0, 1, 1, 0], f"{kind}/train/00001")
    assert data.images.read(1).tolist() == _Downloaded("", True).data[1].tolist()
    small = open_dataset(DataConfig(kind=kind), tmp_path, Split.TRAIN, size=16)
    assert small.images.read(1).shape == (16, 16, 3)


def test_a_failed_download_is_a_one_line_error(monkeypatch, tmp_path):
    def refuse(*given, **options):
        raise RuntimeError("no network")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", refuse)
    with pytest.raises(
        ConfigError, match=r"cifar10 is not in .* cannot be downloaded \(no network\): put torchvision's"
    ):
        open_dataset(DataConfig(kind="cifar10"), tmp_path, Split.TRAIN, size=32)


def test_missing_data_is_a_one_line_error(images, tmp_path):
    with pytest.raises(ConfigError, match="has no folder train with a folder of each class"):
        opened(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ConfigError, match="has no folder of any class"):
        opened(tmp_path)
    (tmp_path / "train" / "owl").mkdir()
    with pytest.raises(ConfigError, match="hold no images"):
        opened(tmp_path)
    with pytest.raises(ConfigError, match=r"class crow has 12 training images, but 20 labels are requested"):
        choose_labelled(config(images, labels=60), opened(images), 0)
    with pytest.raises(ConfigError, match="27 training images are left for validation"):
        choose_validation(config(images, validation=28), opened(images), np.arange(9), 0)
    with pytest.raises(ConfigError, match="is no folder and no table with a column filepath"):
        opened(images, pool=str(tmp_path / "none.csv"))
    with pytest.raises(ConfigError, match="cached views belong to a project"):
        parse_command([str(tmp_path), "--data.kind", "folder"], program="train", saved=saved_config)
    with pytest.raises(ConfigError, match="every training image has a label, so mpl has nothing to learn from"):
        trained(tmp_path / "new", images, "--data.labels", "0")


def test_one_directory_holds_runs_of_one_set_of_classes(images, tmp_path):
    trained(tmp_path, images, steps=1)
    (tmp_path / "gradebook.json").write_text(json.dumps({"version": 1, "classes": ["ant", "bee"]}))
    with pytest.raises(ProjectError, match="holds runs of other classes than this data's"):
        trained(tmp_path, images, run="s")


@pytest.mark.parametrize("name", [name for name in PRESETS if not name.startswith(("quick", "finetune", "lora"))])
@pytest.mark.parametrize("method", ["mpl", "fixmatch"])
def test_every_experiment_has_valid_settings(name, method):
    made = PRESETS[name](method)
    assert (made.preset, made.method, made.data.kind != "project") == (name, method, True)


def test_paper_presets_equal_the_released_programs_settings():
    made = PRESETS["cifar10_4k"]("mpl")
    assert (made.steps, made.labelled, made.unlabelled, made.backbone) == (300_000, 128, 7 * 128, "wrn_28_2")
    assert (made.settings.uda_weight, made.settings.temperature, made.settings.threshold) == (8, 0.7, 0.6)
    assert made.settings.view == "strong"
    assert made.settings.uda_ramp * made.steps == pytest.approx(5000)
    assert PRESETS["imagenet_10"]("mpl").unlabelled == 15 * 1024
