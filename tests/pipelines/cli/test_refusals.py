"""What a command cannot do is one sentence and status two."""

import pytest

from tests.pipelines.cli.cli_runner import done, gradebook, refused
from tests.pipelines.cli.finished_round import NETWORK, FinishedRound


@pytest.mark.parametrize(
    "command",
    [
        *(("classes",), ("import", "x"), ("embed",), ("label", "x.csv"), ("train",), ("train", "--resume"), ("queue",)),
        *(("record", "x"), ("status",), ("evaluate",), ("export", "x"), ("app",), ("fiftyone",)),
    ],
)
def test_a_missing_project_is_a_one_line_error(tmp_path, command):
    result = refused(command[0], tmp_path / "none", *command[1:])
    assert f"{tmp_path / 'none'} is not a project: make one with: gradebook init" in result
    assert list(tmp_path.iterdir()) == []


def test_unknown_names_are_one_line_errors(world, tmp_path):
    project = world.project
    assert "label 'dodo' is not a class" in refused("label", project, "--sample", _id(world), "--label", "dodo")
    assert "give a file, or a sample and its label" in refused("label", project, "--sample", "x")
    assert "give a file, or a sample and its label" in refused("label", project)
    assert "there is no file" in refused("label", project, tmp_path / "none.csv")
    assert "there is no reason 'luck': choose one of feature_classifier," in refused(
        "queue", project, "--reason", "luck"
    )
    for command in (("queue",), ("evaluate",), ("export", tmp_path / "out"), ("record", world.image)):
        result = refused(command[0], project, *command[1:], "--run", "none")
        assert "there is no run 'none'" in result and "choose one of one" in result
    assert "is neither a sample's id nor an imported file" in refused("record", project, "none.png")
    assert "is a project already" in refused("init", project)
    assert "a class is given twice" in refused("init", tmp_path / "new", "--classes", "a,a")
    assert "there is nothing at" in refused("import", project, tmp_path / "none")
    assert "holds other files" in refused("export", project, world.root)
    assert "does not exist: give image files" in refused("predict", world.root / "classifier", tmp_path / "none.png")
    assert "holds no exported classifier" in refused("predict", tmp_path, world.image)


def _id(world: FinishedRound) -> str:
    return str(world.results["queue"].json[0]["sample_id"])


def test_too_few_labels_to_train_are_a_one_line_error(world, tmp_path):
    project = tmp_path / "project"
    train = ("train", project, "--backbone", NETWORK)
    done("init", project, "--classes", "cat")
    assert "has fewer than two classes: add them with: gradebook classes" in refused(*train)
    done("classes", project, "--add", "dog")
    assert "has no training images: import some with: gradebook import" in refused(*train)
    assert "there are no images in the project" in refused("embed", project)
    done("import", project, world.root / "images")
    assert "fewer than two classes have a label" in refused(*train)
    assert "has no run yet: start one with: gradebook train" in refused("evaluate", project)
    assert "No run has finished, so there are no predictions yet. Label these first:" in done("queue", project).out
    (tmp_path / "cats.csv").write_text("".join(f"{line}\n" for line in ("filepath,label", f"{world.image},cat")))
    done("label", project, tmp_path / "cats.csv")
    assert "fewer than two classes have a label" in refused(*train)
    done("label", project, world.root / "labels.csv")
    assert "there are no cached views of test_resnet in this project: run: gradebook embed" in refused(*train)
    assert "has no run that stopped before its end" in refused("train", project, "--resume")


def test_broken_images_are_named_and_the_others_predicted(world, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    result = gradebook("predict", world.root / "classifier", broken, world.image, "--json")
    assert result.status == 0 and len(result.json) == 1
    assert result.err.startswith(f"gradebook: {broken} cannot be used") and len(result.err.splitlines()) == 1
    result = gradebook("predict", world.root / "classifier", broken)
    assert result.status == 2 and len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [("nothing",), ("status",), ("queue", "p", "--limit", "many"), ("import", "p", "i", "--split", "some")]
)
def test_an_invalid_command_line_exits_with_status_two(arguments):
    result = gradebook(*arguments)
    assert result.status == 2 and result.err and "Traceback" not in result.err
