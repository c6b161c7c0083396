"""What the app lists of a training's settings is what the command line takes, with its meaning."""

import subprocess
import sys
from dataclasses import replace

import pytest

from gradebook.pipelines.cli.train_command import parse_command
from gradebook.pipelines.jobs.launcher import start_training
from gradebook.pipelines.training import settings_schema
from gradebook.pipelines.training.presets import preset_of
from gradebook.pipelines.training.settings_schema import changed_settings, list_settings
from gradebook.storage.project import ProjectError, create_project


@pytest.mark.parametrize(("preset", "method"), [("quick", "mpl"), ("finetune", "fixmatch")])
def test_every_setting_has_a_description_and_parses_as_it_is_listed(preset, method):
    found = list_settings(preset, method)
    assert [one.name for one in found if not one.meaning] == []
    options = [text for one in found if one.kind != "flag" for text in (f"--{one.name}", one.value)]
    options += [f"--{one.name}" if one.value == "True" else f"--no-{one.name}" for one in found if one.kind == "flag"]
    call = parse_command(["x", "--preset", preset, "--method", method, *options], program="train", saved=lambda *_: {})
    assert call.config == preset_of(preset, method)


def test_only_changed_settings_are_passed_on(monkeypatch, tmp_path):
    found = list_settings("quick", "mpl")
    typed = {one.name: one.value for one in found} | {"student.lr": " 0.1", "live": "false", "threshold": "0.5"}
    more = changed_settings(found, typed)
    assert more == {"student.lr": 0.1, "live": False, "threshold": 0.5}
    started = []
    monkeypatch.setattr(
        "gradebook.pipelines.jobs.launcher._train", lambda project, path, options, **_: started.extend(options)
    )
    start_training(create_project(tmp_path / "p", ["crow"]), preset="quick", method="mpl", more=more)
    config = parse_command(["x", *started], program="train", saved=lambda *_: {}).config
    usual = preset_of("quick", "mpl")
    assert config == replace(
        usual,
        run=config.run,
        live=False,
        student=replace(usual.student, lr=0.1),
        settings=replace(usual.settings, threshold=0.5),
    )


@pytest.mark.parametrize(("name", "text"), [("labelled", "many"), ("threshold", ""), ("live", "perhaps")])
def test_impossible_requests_are_one_line_errors(name, text):
    with pytest.raises(ProjectError, match=f"{name} is .* must be"):
        changed_settings(list_settings("quick", "mpl"), {name: text})


def test_a_failing_process_is_a_one_line_error(monkeypatch):
    def fail(*_, **__):
        raise subprocess.CalledProcessError(1, sys.executable, stderr="Traceback\nno torch")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(ProjectError, match="no torch"):
        settings_schema.load_settings("quick", "mpl")
