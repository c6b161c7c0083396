"""What a command cannot do is one sentence and status two."""

import pytest

from tests.pipelines.cli.cli_runner import done, gradebook, refused
from tests.pipelines.cli.finished_round import NETWORK, write_images


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


def test_too_few_labels_to_train_are_a_one_line_error(tmp_path):
    project, (*_, image) = tmp_path / "project", write_images(tmp_path)
    train = ("train", project, "--backbone", NETWORK)
    done("init", project, "--classes", "cat")
    assert "has fewer than two classes: add them with: gradebook classes" in refused(*train)
    done("classes", project, "--add", "dog")
    assert "has no training images: import some with: gradebook import" in refused(*train)
    assert "there are no images in the project" in refused("embed", project)
    done("import", project, tmp_path / "images")
    assert "fewer than two classes have a label" in refused(*train)
    assert "has no run yet: start one with: gradebook train" in refused("evaluate", project)
    assert "No run has finished, so there are no predictions yet. Label these first:" in done("queue", project).out
    (tmp_path / "cats.csv").write_text("".join(f"{line}\n" for line in ("filepath,label", f"{image},cat")))
    done("label", project, tmp_path / "cats.csv")
    assert "fewer than two classes have a label" in refused(*train)
    done("label", project, tmp_path / "labels.csv")
    assert "there are no cached views of test_resnet in this project: run: gradebook embed" in refused(*train)
    assert "has no run that stopped before its end" in refused("train", project, "--resume")


@pytest.mark.parametrize(
    "arguments", [("nothing",), ("status",), ("queue", "p", "--limit", "many"), ("import", "p", "i", "--split", "some")]
)
def test_an_invalid_command_line_exits_with_status_two(arguments):
    result = gradebook(*arguments)
    assert result.status == 2 and result.err and "Traceback" not in result.err
