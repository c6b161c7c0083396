"""Reduced Meta Pseudo Labels: distributions computed once, and a small teacher that the feedback trains (float64)."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as nnf
from torch.func import functional_call

from gradebook.mpl.methods import reduced_mpl
from gradebook.mpl.step import Learners, StepIndex
from tests.mpl.toy_problems import SPARE, flat, gradient, noisy_net, problem, slope, step

PARTS = ("weight_1", "bias_1", "weight_2", "bias_2")


def second_part(p, at=4, **settings):
    """Returns learners at the beginning of the second part of ten steps."""
    learners = p.learners()
    step("reduced_mpl", learners, p.batch, StepIndex(at, 10), **settings)
    return learners


def phi(learners):
    return {name: learners.memory[f"calibrator.{name}"].clone() for name in PARTS}


def unrolled(p, net, weights, given):
    """L_l after the student's step on T'(p), with the graph through the step."""
    q = reduced_mpl.calibrated(given, weights).softmax(-1)
    names = dict(net.named_parameters())
    loss = -(q * nnf.log_softmax(net(p.batch.x_us), -1)).sum(-1).mean()
    slopes = torch.autograd.grad(loss, list(names.values()), create_graph=True)
    after = {n: w - p.rate * g for (n, w), g in zip(names.items(), slopes, strict=True)}
    return nnf.cross_entropy(functional_call(net, after, (p.batch.x_l,)), p.batch.y_l)


@pytest.mark.parametrize("feedback", ["exact", "difference"])
def test_the_small_teacher_goes_down_the_gradient_through_the_students_step(feedback):
    p = problem()
    torch.manual_seed(0)
    learners = second_part(p, feedback=feedback, normalise=False)
    net = p.learners().student.net
    net.load_state_dict(learners.student.net.state_dict())
    before = {name: value.requires_grad_() for name, value in phi(learners).items()}
    given = learners.memory["distributions"][SPARE:]
    oracle = torch.autograd.grad(unrolled(p, net, before, given), list(before.values()))

    step("reduced_mpl", learners, p.batch, feedback=feedback, normalise=False, feedback_weight=3.0)
    for (name, value), exact in zip(before.items(), oracle, strict=True):
        moved = (phi(learners)[name] - value.detach()) / (-3.0 * p.rate)
        torch.testing.assert_close(moved, exact, rtol=0, atol=1e-9 if feedback == "exact" else 1e-7)
    assert max(g.abs().max() for g in oracle) > 1e-4


def test_the_small_teacher_begins_as_the_identity():
    p = problem()
    learners = p.learners()
    with torch.no_grad():
        probabilities = p.teacher(p.batch.x_uw).softmax(-1)
    report = step("reduced_mpl", learners, p.batch)
    torch.testing.assert_close(report.predictions.teacher_probability, probabilities.amax(-1), rtol=0, atol=1e-9)
    assert torch.equal(report.predictions.teacher_label, probabilities.argmax(-1))


def test_the_student_learns_from_the_mapped_distributions_alone():
    p = problem()
    learners = second_part(p)
    net = p.learners().student.net
    net.load_state_dict(learners.student.net.state_dict())
    q = reduced_mpl.calibrated(learners.memory["distributions"][SPARE:], phi(learners)).softmax(-1)
    loss = -(q * nnf.log_softmax(net(p.batch.x_us), -1)).sum(-1).mean()
    ours = slope(learners, lambda: step("reduced_mpl", learners, p.batch))
    torch.testing.assert_close(ours, gradient(loss, net), rtol=0, atol=1e-10)


def test_each_distribution_is_computed_once_without_noise_within_two_passes():
    p = problem(noisy_net)
    learners = p.learners()
    asked = []
    learners.teacher.net.register_forward_hook(lambda *_: asked.append(learners.teacher.net.training))
    step("reduced_mpl", learners, p.batch, StepIndex(40, 100))
    kept = learners.memory["distributions"].clone()
    other = replace(p.batch, x_uw=p.batch.x_uw + 1.0)
    for at in range(41, 60):
        step("reduced_mpl", learners, other, StepIndex(at, 100))
    assert torch.equal(learners.memory["distributions"], kept)
    assert torch.equal(kept[:SPARE], torch.zeros_like(kept[:SPARE]))
    assert asked == [False, False], "one pass of six images is one step here"
    assert torch.equal(flat(learners.teacher.net), flat(p.teacher))


def test_the_large_teacher_is_trained_first():
    p = problem()
    learners = p.learners()
    report = step("reduced_mpl", learners, p.batch, StepIndex(3, 10))
    assert list(report.scalars) == ["teacher_loss"]
    assert torch.equal(flat(learners.student.net), flat(p.student))
    assert not torch.equal(flat(learners.teacher.net), flat(p.teacher))


def test_without_feedback_the_small_teacher_stays():
    p = problem()
    learners = second_part(p, feedback="none")
    before = phi(learners)
    step("reduced_mpl", learners, p.batch, feedback="none")
    assert all(torch.equal(value, before[name]) for name, value in phi(learners).items())
    assert not torch.equal(flat(learners.student.net), flat(p.student))


def test_reinforce_moves_the_small_teacher_and_keeps_a_baseline():
    p = problem()
    torch.manual_seed(0)
    learners = second_part(p, feedback="reinforce")
    before = phi(learners)
    step("reduced_mpl", learners, p.batch, feedback="reinforce")
    assert learners.memory["baseline"].abs() > 0
    assert not torch.equal(phi(learners)["weight_2"], before["weight_2"])


def test_precomputed_distributions_need_no_large_teacher():
    p = problem()
    given = torch.randn(6 + SPARE, 3, dtype=torch.float64).softmax(-1)
    made = p.learners()
    alone = Learners(
        student=made.student, memory={"distributions": given}, samples=made.samples, unlabelled=made.unlabelled
    )
    report = step("reduced_mpl", alone, p.batch, StepIndex(0, 10))
    torch.testing.assert_close(report.predictions.teacher_probability, given[SPARE:].amax(-1), rtol=0, atol=1e-9)
    assert torch.equal(alone.memory["distributions"], given)
