"""Every command explains itself."""

import pytest

from tests.pipelines.cli.cli_runner import gradebook

COMMANDS = ("init", "classes", "import", "embed", "label", "train", "queue", "record", "status", "evaluate", "export")
COMMANDS = (*COMMANDS, "predict", "app", "fiftyone", "demo")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    said = gradebook(command, "--help")
    assert said.status == 0
    assert "usage: gradebook" in said.out and len(said.out.splitlines()) > 5


@pytest.mark.parametrize("method", ["mpl", "uda"])
def test_the_help_of_train_shows_the_settings_of_its_method(method):
    said = gradebook("train", "--method", method, "--help").out
    for flag in ("--steps", "--seed", "--run", "--preset", "--record-every", "--student.lr", "--resume", "--json"):
        assert flag in said
    assert ("--feedback" in said) == (method == "mpl")
    assert "--uda-weight" in said


def test_without_a_command_it_teaches_the_first_round():
    said = gradebook()
    assert said.status == 0
    assert all(command in said.out for command in COMMANDS)
    assert "A first round:" in said.out
