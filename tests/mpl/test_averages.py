"""Mean Teacher, Temporal Ensembling, ICT and Noisy Student: teachers made from earlier students (float64, 1e-10)."""

import copy

import pytest
import torch
import torch.nn.functional as nnf
from torch.func import functional_call

from mpl.schedules import slow_ramp
from mpl.step import Clock
from tests.mpl.problems import SPARE, K, flat, gradient, noisy_net, problem, slope, step


def supervised(p, net):
    return nnf.cross_entropy(net(p.batch.x_l), p.batch.y_l)


def squares(logits, target):
    """(1/UK) Σ (softmax - target)², in loops."""
    rows = [(a - b) ** 2 for q, t in zip(logits.softmax(-1), target, strict=True) for a, b in zip(q, t, strict=True)]
    return sum(rows) / len(rows)


def test_mean_teacher_learns_from_the_average_of_its_weights():
    """After a step the teacher is half start, half student; it sees the weak view, the student the strong one."""
    p = problem()
    learners = p.learners()
    step("mean_teacher", learners, p.batch)
    now = copy.deepcopy(learners.student.net)
    names = dict(now.named_parameters())
    average = {n: (dict(p.student.named_parameters())[n] + w) / 2 for n, w in names.items()}
    target = functional_call(now, average, (p.batch.x_uw,)).softmax(-1).detach()
    loss = supervised(p, now) + 8 * slow_ramp(Clock(1, 10), 0.4) * squares(now(p.batch.x_us), target)
    ours = slope(learners, lambda: step("mean_teacher", learners, p.batch, Clock(1, 10)))
    torch.testing.assert_close(ours, gradient(loss, now), rtol=0, atol=1e-10)
    assert gradient(loss - supervised(p, now), now).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["mean_teacher", "ict", "noisy_student"])
def test_teachers_look_without_dropout_and_leave_modes_as_they_were(name):
    p = problem(noisy_net)
    learners = p.learners()
    step(name, learners, p.batch, Clock(4, 10))
    records = []
    for seed in range(2):
        one = copy.deepcopy(learners)
        torch.manual_seed(seed)
        records.append(step(name, one, p.batch, Clock(5, 10)).opinions.teacher_probability)
        assert all(module.training for module in one.student.net.modules())
        assert not one.student.average.module.training
    assert torch.equal(*records)


def test_temporal_ensembling_follows_its_algorithm():
    """Three passes in loops: Z ← αZ + (1-α)z, target Z / (1 - α^t); the first pass has no target."""
    p = problem(unlabelled=4)
    learners = p.learners()
    alpha, total, times = 0.6, torch.zeros(4, K, dtype=torch.float64), 0
    for at in range(3):
        now = copy.deepcopy(learners.student.net)
        strong = now(p.batch.x_us)
        loss = supervised(p, now)
        if times:
            target = total / (1 - alpha**times)
            torch.testing.assert_close(target.sum(-1), torch.ones(4).double())
            consistency = 30 * slow_ramp(Clock(at, 10), 0.27) * squares(strong, target)
            assert gradient(consistency, now).abs().max() > 1e-5
            loss = loss + consistency
        ours = slope(learners, lambda at=at: step("temporal_ensembling", learners, p.batch, Clock(at, 10)))
        torch.testing.assert_close(ours, gradient(loss, now), rtol=0, atol=1e-10)
        total, times = alpha * total + (1 - alpha) * strong.softmax(-1).detach(), times + 1
    torch.testing.assert_close(learners.memory["outputs"][SPARE:], total, rtol=0, atol=1e-12)
    assert learners.memory["times"].tolist() == [0] * SPARE + [3] * 4


def test_ict_teaches_the_mix_of_opinions_on_the_mix_of_images():
    p = problem()
    learners = p.learners()
    step("ict", learners, p.batch)
    now, average = copy.deepcopy(learners.student.net), copy.deepcopy(learners.student.average.module)

    torch.manual_seed(7)
    order = torch.randperm(6)
    share = torch.distributions.Beta(torch.tensor(1.0).double(), torch.tensor(1.0).double()).sample((1,)).item()
    with torch.no_grad():
        q = average(p.batch.x_uw).softmax(-1)
    x, target = [], []
    for i, j in enumerate(order):
        x.append(share * p.batch.x_uw[i] + (1 - share) * p.batch.x_uw[j])
        target.append(share * q[i] + (1 - share) * q[j])
    assert 0.02 < share < 0.98 and not torch.equal(order, torch.arange(6))
    loss = supervised(p, now) + 100 * squares(now(torch.stack(x)), torch.stack(target))

    torch.manual_seed(7)
    ours = slope(learners, lambda: step("ict", learners, p.batch, Clock(9, 10)))
    torch.testing.assert_close(ours, gradient(loss, now), rtol=0, atol=1e-9)


def test_noisy_student_starts_each_round_afresh_from_the_last_rounds_average():
    """Eight steps in four parts: labels alone, then three rounds of two steps each."""
    p = problem()
    learners = p.learners(momentum=0.9)
    for at in range(2):
        assert "pseudo_loss" not in step("noisy_student", learners, p.batch, Clock(at, 8)).scalars
    for number, at in ((1, 2), (2, 4), (3, 6)):
        teacher = copy.deepcopy(learners.student.average.module)
        with torch.no_grad():
            said = teacher(p.batch.x_uw).softmax(-1)
        assert not torch.equal(flat(teacher), flat(p.student))
        sure = said.amax(-1).median().item()
        report = step("noisy_student", learners, p.batch, Clock(at, 8), threshold=sure)
        assert report.scalars["round"].item() == number
        mask = (said.amax(-1) >= sure).double()
        assert 0 < mask.sum() < 6
        ce = -(said * nnf.log_softmax(p.student(p.batch.x_us), -1)).sum(-1)
        loss = supervised(p, p.student) + (ce * mask).mean()
        moved = (flat(learners.student.net) - flat(p.student)) / -p.rate  # the first step of momentum is a plain one
        torch.testing.assert_close(moved, gradient(loss, p.student), rtol=0, atol=1e-10)
        torch.testing.assert_close(report.opinions.teacher_probability, said.amax(-1), rtol=0, atol=1e-12)
        again = step("noisy_student", learners, p.batch, Clock(at + 1, 8), threshold=sure)
        torch.testing.assert_close(again.opinions.teacher_probability, said.amax(-1), rtol=0, atol=1e-12)


def test_noisy_student_needs_a_step_a_round():
    p = problem()
    with pytest.raises(ValueError, match="--rounds"):
        step("noisy_student", p.learners(), p.batch, Clock(0, 3), rounds=3)
