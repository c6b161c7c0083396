import json

import pytest

from gradebook.pipelines.cli.main import main
from gradebook.pipelines.cost.step_profiler import profile
from gradebook.pipelines.training.config import ConfigError
from gradebook.pipelines.training.presets import preset_of

SMALL = ["--backbone", "test_efficientnet", "--labelled", "2", "--unlabelled", "4", "--steps", "2", "--device", "cpu"]


def test_a_profile_has_every_phase_of_a_step(capsys):
    assert main(["profile", *SMALL, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    phases = found["phases"]
    assert {"data", "teacher labels", "student forward", "student backward", "feedback product"} <= set(phases)
    assert {"teacher forward", "teacher backward", "teacher optimizer", "student average", "record"} <= set(phases)
    assert sum(p["share"] for p in phases.values()) == pytest.approx(1)
    assert sum(p["seconds"] for p in phases.values()) == pytest.approx(found["seconds"], rel=0.2)
    assert phases["teacher forward"]["kept"] > phases["student forward"]["kept"] > 0  # the labels come on top
    assert found["steps"] == 2 and found["unlabelled"] == 4


def test_a_profile_of_pixels_without_feedback_is_a_table(capsys):
    preset = ["--preset", "cifar10_cpu", "--method", "fixmatch", "--size", "32"]
    assert main(["profile", *preset, *SMALL]) == 0
    text = capsys.readouterr().out
    assert "fixmatch with test_efficientnet, 2 labelled and 4 unlabelled images of 32 px per step" in text
    assert "\ndata augmentation " in text
    assert "backward " in text and "feedback" not in text


def test_a_method_that_needs_another_run_cannot_be_profiled():
    config = preset_of("quick", "reduced_mpl")
    object.__setattr__(config, "distributions", "another")
    with pytest.raises(ConfigError, match="leave --distributions out"):
        profile(config, steps=1)
