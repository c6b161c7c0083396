"""Every command explains itself."""

import re
import typing

import pytest

import gradebook as gradebook_package
from gradebook.pipelines.cli import app
from gradebook.pipelines.cli.overview import GROUPS, summaries
from tests.pipelines.cli.cli_runner import done, gradebook, refused

COMMANDS = summaries()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    out = done(command, "--help").out
    assert f"usage: gradebook {command}" in out
    assert len(out.splitlines()) > 5


@pytest.mark.parametrize("command", app._subcommands)
def test_every_argument_has_a_help_text(command):
    hints = typing.get_type_hints(app._subcommands[command].target, include_extras=True)
    hints.pop("return")
    for name, hint in hints.items():
        assert any(getattr(mark, "help", None) for mark in hint.__metadata__), name


@pytest.mark.parametrize("method", ["mpl", "uda"])
def test_the_help_of_train_shows_the_settings_of_its_method(method):
    text = gradebook("train", "--method", method, "--help").out
    for flag in ("--steps", "--seed", "--run", "--preset", "--record-every", "--student.lr", "--resume", "--json"):
        assert flag in text
    assert ("--feedback" in text) == (method == "mpl")
    assert "--uda-weight" in text


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_without_a_command_it_shows_the_first_steps_and_every_command(arguments):
    out = done(*arguments).out
    assert "Or step by step:" in out
    for command, summary in COMMANDS.items():
        assert re.search(rf"(?m)^  {command} +{re.escape(summary)}$", out)
    assert max(map(len, out.splitlines())) <= 80, "a terminal's width"


@pytest.mark.parametrize(
    ("typed", "meant"), [("trian", "train"), ("Embed", "embed"), ("exportlabels", "export-labels"), ("lable", "label")]
)
def test_a_misspelt_command_names_the_close_ones(typed, meant):
    sentence = refused(typed, "PROJECT")
    assert f"did you mean {meant}" in sentence


def test_a_command_that_is_like_no_other_names_the_list():
    assert "gradebook alone lists the commands" in refused("xylophone")


def test_old_names_of_commands_still_work():
    assert "usage: gradebook" in done("history", "--help").out
    assert "usage: gradebook" in done("export_labels", "--help").out


@pytest.mark.parametrize(
    ("command", "optional"), [("app", "[PROJECT]"), ("label", "[FILE.csv]"), ("log", "[SAMPLE]"), ("demo", "[DIR]")]
)
def test_optional_arguments_look_optional(command, optional):
    assert optional in done(command, "--help").out.splitlines()[0]


def test_train_names_the_project_as_the_other_commands_do():
    assert done("train", "--help").out.splitlines()[0] == "usage: gradebook train [-h] [OPTIONS] PROJECT"


def test_no_usage_line_shows_how_python_spells_an_option():
    for command in COMMANDS:
        usage = done(command, "--help").out.partition("\n\n")[0]
        assert "{None}" not in usage, usage


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_a_shell(shell):
    assert "export-labels" in done("completion", shell).out


def test_each_command_is_in_one_group():
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS)


def test_version_is_printed():
    assert done("--version").out == f"gradebook {gradebook_package.__version__}\n"
