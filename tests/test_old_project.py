"""A project made by an older version opens and gives the same results. See tests/fixtures/README.md."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from gradebook.pipelines.reporting.training_dynamics import read_label_flow
from gradebook.pipelines.runs import Run
from tests.pipelines.cli.cli_runner import done, gradebook

ARCHIVE = Path(__file__).parent / "fixtures" / "project-37b9eb7.tar.gz"
MADE_IN = "/srv/round"  # where its images were


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """The unpacked project, its images found again where they are now."""
    root = unpacked(tmp_path_factory.mktemp("old"))
    done("relocate", root / "project", MADE_IN, root)
    return root


@pytest.fixture(scope="module")
def expected(root) -> dict[str, Any]:
    """The results of the old version."""
    return json.loads((root / "expected.json").read_text().replace(MADE_IN, str(root)))


def unpacked(root: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="data")
    return root


def test_verify_names_images_that_have_moved_and_nothing_else(tmp_path):
    result = gradebook("verify", unpacked(tmp_path) / "project", "--content", "--json")
    assert result.status == 1
    [finding] = result.json["findings"]
    assert finding["what"] == "16 files are missing"


def test_verify_finds_nothing_once_the_images_are_relocated(root):
    assert done("verify", root / "project", "--content", "--json").json["findings"] == []


def test_status_prints_the_same_counts(root, expected):
    status = done("status", root / "project", "--json").json
    numbers = {key: value for key, value in expected["status"].items() if key != "project"}
    assert {key: status[key] for key in numbers} == numbers


def test_the_log_has_the_same_events(root, expected):
    assert done("history", root / "project", "--json").json == expected["history"]


def test_the_queue_has_the_same_images_in_the_same_order(root, expected):
    queue = done("queue", root / "project", "--json").json
    for key in ("sample_id", "filepath", "label", "given", "proposal"):
        assert [row[key] for row in queue] == [row[key] for row in expected["queue"]]
    for key in ("probability", "score"):
        assert [row[key] for row in queue] == pytest.approx([row[key] for row in expected["queue"]], abs=1e-3)


def test_the_neighbours_of_an_image_are_the_same(root, expected):
    image = root / "images" / "001.png"
    assert done("neighbours", root / "project", image, "--json").json == expected["neighbours"]


def test_the_record_of_an_image_has_the_same_rows(root, expected):
    image = root / "images" / "009.png"
    assert done("record", root / "project", image, "--json").json == expected["record"]


def test_evaluate_finds_the_same_accuracy(root, expected):
    result = done("evaluate", root / "project", "--run", "finished", "--json").json
    assert result["ece"] == pytest.approx(expected["evaluate"].pop("ece"), abs=1e-4)
    assert {key: result[key] for key in expected["evaluate"]} == expected["evaluate"]


def test_the_evolution_of_the_labels_is_the_same(root, expected):
    snapshots = read_label_flow(Run(root / "project" / "runs" / "finished"))
    assert snapshots is not None
    flow = {"steps": snapshots.steps, "teacher": snapshots.teacher.tolist(), "student": snapshots.student.tolist()}
    assert flow == expected["evolution"]


@pytest.mark.slow
def test_the_finished_run_can_be_exported_and_predicts(root, tmp_path):
    done("export", root / "project", tmp_path / "classifier", "--run", "finished")
    rows = done("predict", tmp_path / "classifier", root / "test", "--json").json
    assert [row["label"] for row in rows] == ["cat", "cat", "dog", "dog"]


def test_the_stopped_run_resumes_and_ends_as_the_uninterrupted_run(root, tmp_path):
    import torch
    from safetensors.torch import load_file

    project = shutil.copytree(root / "project", tmp_path / "project")
    done("train", project, "--resume", "--run", "stopped")
    whole, resumed = (load_file(project / "runs" / run / "student.safetensors") for run in ("finished", "stopped"))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=1e-6)
