from dataclasses import replace
from pathlib import Path

import pytest

from gradebook.pipelines.studies.equal_compute import EqualCompute, as_markdown, config_of, operations
from gradebook.pipelines.training.presets import PRESETS

pytestmark = pytest.mark.slow

ASKED = EqualCompute(images=Path("images"), steps=100)


def small(method: str):
    return replace(PRESETS["cifar10_cpu"](method), labelled=4, unlabelled=4, size=16)


def test_operations_are_those_of_the_passes():
    """Without momentum's share: 4 images forward and backward; twice the images, twice the operations."""
    one = operations(small("supervised"))
    assert operations(replace(small("supervised"), labelled=8)) == pytest.approx(2 * one, rel=1e-6)
    # FixMatch: as many strong views as labelled images forward and backward, and the weak ones forward alone, a third
    assert operations(small("fixmatch")) == pytest.approx((2 + 1 / 3) * one, rel=0.02)


def test_feedback_costs_a_labelled_gradient_and_a_forward_mode_product():
    one = operations(small("supervised"))
    off = replace(small("mpl"), settings=replace(small("mpl").settings, feedback="none"))
    extra = operations(small("mpl")) - operations(off)
    # in training steps on as many images: the labelled gradient; the product, two forward passes beside the student's
    # own; and the teacher's weak views, but for the forward pass, which is done anyway
    assert extra == pytest.approx((1 + 2 / 3 + 2 / 3) * one, rel=0.05)


def test_every_method_gets_the_references_compute():
    reference = config_of(ASKED, "mpl", 0)
    total = reference.steps * operations(reference)
    for method in ("supervised", "uda", "mpl:none"):
        config = config_of(ASKED, method, 1)
        assert config.steps * operations(config) == pytest.approx(total, rel=0.005)
        assert config.steps > reference.steps
        stretch = config.steps / reference.steps
        assert config.student.warmup_steps == pytest.approx(reference.student.warmup_steps * stretch, abs=1)
    assert config.settings.feedback == "none"
    assert config.seed == 1


def test_the_table_has_the_command_that_makes_it():
    table = as_markdown(ASKED, {"mpl": [0.5, 0.6], "uda": [0.4, 0.4]}, ["images", "--steps", "100"])
    assert "| mpl | 100 |" in table
    assert "| 40.0 ± 0.0 | 40.0, 40.0 |" in table
    assert "`python pipelines/studies/equal_compute.py images --steps 100`" in table
