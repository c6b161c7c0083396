"""Networks of sizes of their own, a student larger than its teacher, a teacher of another backbone; and their scale."""

from dataclasses import replace

import pytest
import torch

from gradebook.mpl.step import Learner, Learners, StepIndex
from gradebook.pipelines.cli.train_command import parse_command
from gradebook.pipelines.inference.evaluate import evaluate
from gradebook.pipelines.process.run_status import State
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training import cached_views
from gradebook.pipelines.training.config import ConfigError, OptimConfig
from gradebook.pipelines.training.learners import set_learning_rates
from gradebook.pipelines.training.presets import preset_of
from tests.pipelines.projects import BACKBONE, CLASSES, DIM, TEST, flags, trained, weights

LARGER = ("--method", "noisy_student", "--hidden", "0", "--student-hidden", "8", "--rounds", "2")


def test_noisy_student_trains_a_small_head_and_then_larger_ones(store):
    assert trained(store, *LARGER, run="larger").state is State.FINISHED
    assert weights(store, "larger")["layers.0.weight"].shape == (8, DIM)
    run = Run(store.project.runs / "larger")
    assert [set(row) & {"teacher_loss", "round"} for row in run.metrics()][0::2] == [{"teacher_loss"}, {"round"}]
    assert evaluate(store, run).n == TEST


def test_noisy_student_refuses_a_student_smaller_than_its_teacher(store):
    with pytest.raises(ConfigError, match="give a larger --student-hidden or a smaller --hidden"):
        trained(store, *LARGER, "--hidden", "9", run="smaller")


def test_on_pixels_the_student_may_have_a_larger_backbone_than_its_teacher(store):
    sizes = ("--backbone", "test_resnet", "--teacher-backbone", BACKBONE)
    trained(store, "--inputs", "pixels", "--method", "noisy_student", "--rounds", "1", *sizes, run="pixels", steps=4)
    run = Run(store.project.runs / "pixels")
    assert ["teacher_loss" in run.metrics()[n] for n in (0, -1)] == [True, False]
    assert weights(store, "pixels")["model.fc.weight"].shape[0] == len(CLASSES)
    assert evaluate(store, run).n == TEST


def test_cached_views_are_of_one_backbone(store):
    with pytest.raises(ConfigError, match="give --inputs pixels with --teacher-backbone"):
        parse_command(flags(store, "--teacher-backbone", "test_vit"), program="train", saved=lambda project, name: {})


def test_cached_features_are_scaled_to_a_root_mean_square_of_one_half():
    """Of the plain views, more of them than are squared together, the last ones larger."""
    views = torch.randn(cached_views.RMS_BATCH + 100, 2, 3, generator=torch.Generator().manual_seed(0)).half()
    views[-100:] *= 50
    plain = views[:, 0].float() * cached_views.CachedViews(views, 1).scale
    assert plain.square().mean().sqrt() == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(("schedule", "last"), [("cosine", 0.0), ("constant", 1.0)])
def test_learning_rates_fall_to_zero_or_stay(schedule, last):
    config = replace(preset_of("quick", "mpl"), schedule=schedule, student=OptimConfig(lr=1.0, warmup_steps=10))
    net = torch.nn.Linear(2, 2)
    made = Learners(student=Learner(net=net, optimizer=torch.optim.SGD(net.parameters(), 1.0)))
    rates = {}
    for step in (4, 9, 10, config.steps - 1):
        set_learning_rates(made, config, StepIndex(step, config.steps))
        rates[step] = made.student.rate
    assert (rates[4], rates[9], rates[10]) == (0.5, 1.0, 1.0)
    assert rates[config.steps - 1] == pytest.approx(last, abs=1e-4)
