"""Each method's step: what moves, what must not, and that it repeats."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as nnf

from gradebook.mpl import feedback as fb
from gradebook.mpl.methods import METHODS, mpl
from gradebook.mpl.rng_state import get_rng_state, replay_rng
from gradebook.mpl.step import Learners, SingleProcess, StepIndex
from tests.mpl.toy_problems import convolution_problem, flat, noisy_net, norm_net, plain_net, problem

INDEX = StepIndex(step=5, total=10)


def step(name, learners, batch, index=INDEX, **settings):
    method = METHODS[name]
    torch.manual_seed(1)
    return method.step(learners, batch, SingleProcess(), method.settings(**settings), index)


PROBLEMS = [*(partial(problem, make) for make in (plain_net, norm_net, noisy_net)), convolution_problem]


@pytest.mark.parametrize("view", ["weak", "strong"])
@pytest.mark.parametrize("made", PROBLEMS)
def test_mpl_moves_the_teacher_down_the_meta_gradient(made, view):
    """The whole step against autograd through the unrolled student step, all else and all noise equal."""
    p = made()
    updates = {}
    for feedback in ("exact", "none"):
        learners = p.learners()
        options = {"normalise": False, "threshold": 2.0, "feedback_weight": 3.0, "view": view}
        step("mpl", learners, p.batch, feedback=feedback, **options)
        updates[feedback] = flat(learners.teacher.net) - flat(p.teacher)
    by_feedback = (updates["exact"] - updates["none"]) / (-3.0 * p.rate)

    torch.manual_seed(1)
    asked = p.batch.x_uw if view == "weak" else torch.cat([p.batch.x_l, p.batch.x_us])
    q = fb.functional_forward(p.teacher, dict(p.teacher.named_parameters()), asked)[-len(p.batch.x_us) :].softmax(-1)
    if view == "strong":
        fb.functional_forward(
            p.teacher, dict(p.teacher.named_parameters()), p.batch.x_uw
        )  # UDA's, whose noise comes before
    weights = dict(p.student.named_parameters())
    loss = -(q * nnf.log_softmax(fb.functional_forward(p.student, weights, p.batch.x_us), -1)).sum(-1).mean()
    gradient = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    after = {n: w - p.rate * g for (n, w), g in zip(weights.items(), gradient, strict=True)}
    with fb.dropout_off(p.student):
        labelled = nnf.cross_entropy(fb.functional_forward(p.student, after, p.batch.x_l), p.batch.y_l)
    oracle = torch.cat([g.flatten() for g in torch.autograd.grad(labelled, list(p.teacher.parameters()))])

    torch.testing.assert_close(by_feedback, oracle, rtol=0, atol=1e-9)
    assert oracle.abs().max() > 1e-4


@pytest.mark.parametrize("view", ["weak", "strong"])
@pytest.mark.parametrize("feedback", ["exact", "none"])
def test_mpl_teacher_sees_each_view_once(feedback, view):
    """Its BatchNorm counts them: labels and strong views in one pass, weak views in another."""
    p = problem(norm_net)
    learners = p.learners()
    step("mpl", learners, p.batch, feedback=feedback, view=view)
    assert learners.teacher.net[1].num_batches_tracked == 2
    assert learners.student.net[1].num_batches_tracked == 1


@pytest.mark.parametrize("make", [plain_net, norm_net, noisy_net])
def test_mpl_student_never_sees_a_label(make):
    """Permuting y_l changes the teacher and leaves the student's first update bit for bit."""
    p = problem(make)
    other = replace(p.batch, y_l=p.batch.y_l.flip(0) + 1 - p.batch.y_l.flip(0).clamp(0, 1))
    one, two = p.learners(), p.learners()
    step("mpl", one, p.batch)
    step("mpl", two, other)
    assert torch.equal(flat(one.student.net), flat(two.student.net))
    assert not torch.equal(flat(one.teacher.net), flat(two.teacher.net))
    for a, b in zip(one.student.net.buffers(), two.student.net.buffers(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("make", [plain_net, norm_net, noisy_net])
def test_mpl_difference_and_exact_take_the_same_step(make):
    p = problem(make)
    one, two = p.learners(momentum=0.9), p.learners(momentum=0.9)
    first = step("mpl", one, p.batch, feedback="exact")
    second = step("mpl", two, p.batch, feedback="difference")
    torch.testing.assert_close(first.predictions.feedback, second.predictions.feedback, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(flat(one.teacher.net), flat(two.teacher.net), rtol=0, atol=1e-3)
    assert torch.equal(flat(one.student.net), flat(two.student.net))


def test_mpl_same_teacher_pass_makes_the_labels_and_carries_the_gradient():
    """With dropout in the teacher, the graph pass must replay the mask of the pass that labelled."""
    p = problem(noisy_net)
    x = p.batch.x_uw
    noise = get_rng_state(x.device)
    with torch.no_grad():
        logits = p.teacher(x)
    with replay_rng(noise, x.device):
        again = fb.functional_forward(p.teacher, dict(p.teacher.named_parameters()), x)
    assert torch.equal(logits, again.detach())
    assert not torch.equal(logits, p.teacher(x).detach())


def test_mpl_reinforce_prefers_labels_that_helped():
    """A helpful batch of labels becomes likelier: descending h·CE raises their probability, and lowers it for h < 0."""
    p = problem()
    logits = p.teacher(p.batch.x_uw)
    labels = fb.sampled_labels(logits, torch.Generator().manual_seed(0))
    for sign in (1.0, -1.0):
        teacher = copy.deepcopy(p.teacher)
        optimizer = torch.optim.SGD(teacher.parameters(), 0.1)
        before = nnf.cross_entropy(teacher(p.batch.x_uw), labels)
        fb.reinforce_loss(teacher(p.batch.x_uw), labels, torch.tensor(sign)).backward()
        optimizer.step()
        assert (before - nnf.cross_entropy(teacher(p.batch.x_uw), labels)).sign() == sign


def test_mpl_reinforce_keeps_its_baseline_in_memory():
    p = problem()
    learners = p.learners()
    report = step("mpl", learners, p.batch, feedback="reinforce", baseline=0.5)
    torch.testing.assert_close(learners.memory["baseline"], 0.5 * report.scalars["improvement"])
    assert report.scalars["improvement"].abs() > 1e-6
    assert report.predictions.feedback is None


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_mpl_reports_how_much_of_the_teachers_gradient_is_feedback(view):
    def share(**settings) -> float:
        report = step("mpl", problem().learners(), problem().batch, view=view, **settings)
        return float(report.scalars["feedback_share"])

    one, three = share(), share(feedback_weight=3.0)
    assert 0 < one < three < 1
    assert three / (1 - three) == pytest.approx(3 * one / (1 - one)), "the norm of its gradient grows with its weight"
    assert share(feedback="none") == share(feedback_weight=0.0) == 0


def test_mpl_reports_every_unlabelled_image():
    p = problem()
    report = step("mpl", p.learners(), p.batch, feedback="exact")
    with torch.no_grad():
        teacher, student = p.teacher(p.batch.x_uw).softmax(-1), p.student(p.batch.x_us).softmax(-1)
    assert torch.equal(report.predictions.teacher_label, teacher.argmax(-1))
    assert torch.equal(report.predictions.runner_up, teacher.argsort(-1, descending=True)[:, 1])
    torch.testing.assert_close(report.predictions.teacher_probability, teacher.amax(-1))
    assert torch.equal(report.predictions.student_label, student.argmax(-1))
    assert (report.predictions.best_gain >= 0).all()
    same = report.predictions.best_label == report.predictions.teacher_label
    assert torch.equal(report.predictions.best_gain == 0, same)


def test_supervised_step_is_plain_gradient_descent():
    p = problem()
    learners = p.learners()
    step("supervised", learners, p.batch)
    gradient = torch.autograd.grad(nnf.cross_entropy(p.student(p.batch.x_l), p.batch.y_l), list(p.student.parameters()))
    expected = flat(p.student) - p.rate * torch.cat([g.flatten() for g in gradient])
    torch.testing.assert_close(flat(learners.student.net), expected, rtol=0, atol=1e-12)


def test_pseudo_label_teacher_stays_as_it_is_once_trained():
    p = problem()
    learners = p.learners()
    step("pseudo_label", learners, p.batch, StepIndex(step=3, total=10), teacher_share=0.4)
    assert not torch.equal(flat(learners.teacher.net), flat(p.teacher))
    assert torch.equal(flat(learners.student.net), flat(p.student))
    trained = flat(learners.teacher.net)
    step("pseudo_label", learners, p.batch, StepIndex(step=4, total=10), teacher_share=0.4)
    assert torch.equal(flat(learners.teacher.net), trained)
    assert not torch.equal(flat(learners.student.net), flat(p.student))


def test_pseudo_label_student_learns_the_class_of_the_weak_view_on_the_strong_one():
    """In loops, with views that have nothing to do with each other; float64, 1e-10."""
    p = problem()
    p = replace(p, batch=replace(p.batch, x_us=p.batch.x_us.flip(0) * 2))
    learners = p.learners()
    probabilities = p.teacher(p.batch.x_uw).softmax(-1)
    sure = probabilities.amax(-1).median().item()
    step("pseudo_label", learners, p.batch, StepIndex(step=4, total=10), teacher_share=0.4, threshold=sure)
    loss = nnf.cross_entropy(p.student(p.batch.x_l), p.batch.y_l)
    for i in range(6):
        if probabilities[i].max() >= sure:
            c = int(probabilities[i].argmax())
            loss = loss - nnf.log_softmax(p.student(p.batch.x_us[i : i + 1]), -1)[0, c] / 6
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(p.student.parameters()))])
    torch.testing.assert_close(flat(learners.student.net), flat(p.student) - p.rate * gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize("view", ["weak", "strong"])
def test_without_feedback_mpl_trains_its_teacher_as_uda_does(view):
    """Feedback off leaves UDA on the teacher: the ablation changes the feedback and nothing else."""
    p = problem()
    off = p.learners()
    step("mpl", off, p.batch, feedback="none", threshold=0.0, view=view)
    alone = Learners(student=p.learners().teacher)
    step("uda", alone, p.batch, threshold=0.0)
    torch.testing.assert_close(flat(off.teacher.net), flat(alone.student.net), rtol=0, atol=1e-12)
    assert mpl.Settings().feedback == "exact"
