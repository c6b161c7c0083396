"""Mean Teacher, Temporal Ensembling, ICT and Noisy Student: teachers made from earlier students (float64, 1e-10)."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as nnf
from torch import nn
from torch.func import functional_call

from gradebook.mpl.methods import noisy_student
from gradebook.mpl.schedules import slow_ramp
from gradebook.mpl.step import StepIndex
from tests.mpl.toy_problems import SPARE, D, K, flat, gradient, half, noisy_net, problem, slope, step


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
    loss = supervised(p, now) + 8 * slow_ramp(StepIndex(1, 10), 0.4) * squares(now(p.batch.x_us), target)
    ours = slope(learners, lambda: step("mean_teacher", learners, p.batch, StepIndex(1, 10)))
    torch.testing.assert_close(ours, gradient(loss, now), rtol=0, atol=1e-10)
    assert gradient(loss - supervised(p, now), now).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["mean_teacher", "ict", "noisy_student"])
def test_teachers_predict_without_dropout_and_keep_their_modes(name):
    p = problem(noisy_net)
    learners = p.learners()
    step(name, learners, p.batch, StepIndex(4, 10))
    records = []
    for seed in range(2):
        one = copy.deepcopy(learners)
        torch.manual_seed(seed)
        records.append(step(name, one, p.batch, StepIndex(5, 10)).predictions.teacher_probability)
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
            consistency = 30 * slow_ramp(StepIndex(at, 10), 0.27) * squares(strong, target)
            assert gradient(consistency, now).abs().max() > 1e-5
            loss = loss + consistency
        ours = slope(learners, lambda at=at: step("temporal_ensembling", learners, p.batch, StepIndex(at, 10)))
        torch.testing.assert_close(ours, gradient(loss, now), rtol=0, atol=1e-10)
        total, times = alpha * total + (1 - alpha) * strong.softmax(-1).detach(), times + 1
    torch.testing.assert_close(learners.memory["outputs"][SPARE:], total, rtol=0, atol=1e-12)
    assert learners.memory["times"].tolist() == [0] * SPARE + [3] * 4


def test_ict_teaches_mixed_predictions_on_mixed_images():
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
    ours = slope(learners, lambda: step("ict", learners, p.batch, StepIndex(9, 10)))
    torch.testing.assert_close(ours, gradient(loss, now), rtol=0, atol=1e-9)


def alone(learners):
    """Returns the learners without a teacher: Noisy Student of one size."""
    learners.teacher = None
    return learners


def test_noisy_student_starts_each_round_afresh_from_the_last_rounds_average():
    """Eight steps in four parts: labels alone, then three rounds of two steps each."""
    p = problem()
    learners = alone(p.learners(momentum=0.9))
    for at in range(2):
        assert "pseudo_loss" not in step("noisy_student", learners, p.batch, StepIndex(at, 8), balance=0).scalars
    for number, at in ((1, 2), (2, 4), (3, 6)):
        teacher = copy.deepcopy(learners.student.average.module)
        with torch.no_grad():
            probabilities = teacher(p.batch.x_uw).softmax(-1)
        assert not torch.equal(flat(teacher), flat(p.student))
        sure = probabilities.amax(-1).median().item()
        report = step("noisy_student", learners, p.batch, StepIndex(at, 8), threshold=sure, balance=0)
        assert report.scalars["round"].item() == number
        mask = (probabilities.amax(-1) >= sure).double()
        assert 0 < mask.sum() < 6
        ce = -(probabilities * nnf.log_softmax(p.student(p.batch.x_us), -1)).sum(-1)
        loss = supervised(p, p.student) + (ce * mask).mean()
        moved = (flat(learners.student.net) - flat(p.student)) / -p.rate  # the first step of momentum is a plain one
        torch.testing.assert_close(moved, gradient(loss, p.student), rtol=0, atol=1e-10)
        torch.testing.assert_close(report.predictions.teacher_probability, probabilities.amax(-1), rtol=0, atol=1e-12)
        again = step("noisy_student", learners, p.batch, StepIndex(at + 1, 8), threshold=sure, balance=0)
        torch.testing.assert_close(again.predictions.teacher_probability, probabilities.amax(-1), rtol=0, atol=1e-12)


def wide_net():
    return nn.Sequential(nn.Linear(D, 9), nn.Tanh(), nn.Linear(9, K))


def test_noisy_student_may_be_larger_than_its_first_teacher():
    """The small network learns first and teaches round 1; then the large one teaches its like."""
    p = problem()
    p.student = wide_net().double()
    learners = p.learners()
    for at in range(3):
        report = step("noisy_student", learners, p.batch, StepIndex(at, 9), rounds=2, balance=0)
        assert list(report.scalars) == ["teacher_loss"]
    assert torch.equal(flat(learners.student.net), flat(p.student))
    small = copy.deepcopy(learners.teacher.net)
    assert not torch.equal(flat(small), flat(p.teacher))
    teachers = [small]
    for number, at in ((1, 3), (2, 6)):
        with torch.no_grad():
            probabilities = teachers[-1](p.batch.x_uw).softmax(-1)
        report = step("noisy_student", learners, p.batch, StepIndex(at, 9), rounds=2, balance=0)
        assert report.scalars["round"].item() == number
        torch.testing.assert_close(report.predictions.teacher_probability, probabilities.amax(-1), rtol=0, atol=1e-12)
        assert torch.equal(flat(learners.teacher.net), flat(small))
        for later in (at + 1, at + 2):
            step("noisy_student", learners, p.batch, StepIndex(later, 9), rounds=2, balance=0)
        teachers.append(copy.deepcopy(learners.student.average.module))


def test_noisy_student_refuses_a_student_smaller_than_its_teacher():
    p = problem()
    p.teacher = wide_net().double()
    with pytest.raises(ValueError, match=r"43 weights.*teacher 75: give a larger --student-hidden"):
        step("noisy_student", p.learners(), p.batch, StepIndex(0, 10))


def balanced_set(labels, confidence, *, classes, threshold, balance):
    """The paper's procedure in loops, with as many copies on average as its random draw makes: image -> copies."""
    asked = [i for i, label in enumerate(labels) if label >= 0]
    size = balance * len(asked) / classes
    found = {}
    for name in range(classes):
        mine = [i for i in asked if labels[i] == name and confidence[i] >= threshold]
        mine.sort(key=lambda i: (-confidence[i], i))
        kept = mine[: max(1, math.ceil(size))]
        found |= {i: size / len(kept) for i in kept}
    return found


@pytest.mark.parametrize("balance", [0.3, 1.0, 5.0])
def test_noisy_students_balanced_set_is_the_papers(balance):
    """The mean over a pool in which an image counts c times is the mean over the paper's set, copies and all."""
    random = torch.Generator().manual_seed(0)
    labels = torch.tensor([-1] * 7 + [0] * 40 + [1] * 12 + [2] * 3 + [4] * 5)[torch.randperm(67, generator=random)]
    confidence = (torch.rand(67, generator=random, dtype=torch.float64) * 20).round() / 20  # with ties
    loss = torch.rand(67, generator=random, dtype=torch.float64)
    options = {"classes": 5, "threshold": 0.3, "balance": balance}
    found = noisy_student.copies(labels, confidence, **options)
    paper = balanced_set(labels.tolist(), confidence.tolist(), **options)
    assert found.nonzero()[:, 0].tolist() == sorted(paper)
    assert 0 < len(paper) < 60
    ours = (found * loss).sum() / (labels >= 0).sum()
    theirs = sum(n * loss[i] for i, n in paper.items()) / sum(paper.values())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    for name in (0, 1, 2, 4):
        torch.testing.assert_close(found[labels == name].sum(), torch.tensor(15.0).double(), rtol=0, atol=1e-12)


def test_noisy_student_selects_nothing_without_a_confident_prediction():
    found = noisy_student.copies(
        torch.tensor([0, 1, -1]), torch.tensor([0.2, 0.1, 0.0]), classes=3, threshold=0.3, balance=1.0
    )
    assert found.tolist() == [0, 0, 0]


def test_noisy_student_weights_images_by_the_part_of_the_pool_seen_in_this_round():
    """Two batches of three, one after another: the first is weighed by itself, the second by both."""
    p = problem()
    parts = [half(p.batch, rank) for rank in range(2)]
    for second_round in (False, True):
        learners = alone(p.learners())
        for at in range(6 if second_round else 3):
            step("noisy_student", learners, parts[at % 2], StepIndex(at, 9), rounds=2, balance=0.7, threshold=0.0)
        probabilities = None
        for number, part in enumerate(parts):
            teacher = learners.student.average.module if probabilities is None else None
            if teacher is not None:
                with torch.no_grad():
                    probabilities = teacher(p.batch.x_uw).softmax(-1)
            known = 3 * (number + 1)
            count = noisy_student.copies(
                probabilities.argmax(-1)[:known], probabilities.amax(-1)[:known], classes=K, threshold=0.0, balance=0.7
            )[3 * number :]
            now = copy.deepcopy(p.student if number == 0 else learners.student.net)
            q = probabilities[3 * number : known]
            ce = -(q * nnf.log_softmax(now(part.x_us), -1)).sum(-1)
            loss = nnf.cross_entropy(now(part.x_l), part.y_l) + (ce * count).mean()
            index = StepIndex((6 if second_round else 3) + number, 9)
            step("noisy_student", learners, part, index, rounds=2, balance=0.7, threshold=0.0)
            moved = (flat(learners.student.net) - flat(now)) / -p.rate
            torch.testing.assert_close(moved, gradient(loss, now), rtol=0, atol=1e-10)
        assert count.unique().numel() > 1


def test_noisy_student_counts_each_image_once_a_round():
    p = problem()
    learners = alone(p.learners())
    for at in range(3, 6):
        batch = replace(p.batch, x_uw=p.batch.x_uw + at)
        step("noisy_student", learners, batch, StepIndex(at, 9), rounds=2)
        if at == 3:
            noted = {name: learners.memory[name].clone() for name in ("label", "confidence", "copies")}
    assert all(torch.equal(learners.memory[name], value) for name, value in noted.items())
    assert (noted["label"][SPARE:] >= 0).all() and (noted["label"][:SPARE] == -1).all()


def test_noisy_student_needs_at_least_one_step_a_round():
    p = problem()
    with pytest.raises(ValueError, match="--rounds"):
        step("noisy_student", p.learners(), p.batch, StepIndex(0, 3), rounds=3)
