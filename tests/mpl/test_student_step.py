"""The teacher's feedback loss, by hand (float64)."""

import pytest
import torch
import torch.nn.functional as nnf

from gradebook.mpl import feedback as fb
from gradebook.mpl.rng_state import get_rng_state, replay_rng
from gradebook.mpl.step import SingleProcess
from gradebook.mpl.student_step import StudentUpdate, student_step, teacher_feedback_loss
from tests.mpl.toy_problems import K, Pair, half, noisy_net, problem


def reinforced(h, memory, *, baseline):
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
    hard = torch.tensor([0, 1])
    update = StudentUpdate(
        loss=torch.tensor(0.0), logits=logits, sampled_labels=hard, improvement=torch.tensor(h, dtype=torch.float64)
    )
    loss = teacher_feedback_loss(logits, update, memory, SingleProcess(), normalise=True, baseline=baseline)
    return (loss / nnf.cross_entropy(logits, hard)).item()


def test_the_baseline_is_the_mean_of_earlier_steps():
    """h = 1, then 0.5, decay 0.8: the mean is 0, then 0.2, and is taken off."""
    memory = {}
    assert reinforced(1.0, memory, baseline=0.8) == pytest.approx(1.0)
    assert reinforced(0.5, memory, baseline=0.8) == pytest.approx(0.5 - 0.2)
    assert memory["baseline"].item() == pytest.approx(0.8 * 0.2 + 0.2 * 0.5)


def test_without_a_baseline_nothing_is_subtracted():
    memory = {"baseline": torch.tensor(3.0)}
    assert reinforced(0.5, memory, baseline=0.0) == pytest.approx(0.5)


def test_normalising_divides_the_matrix_by_its_root_mean_square():
    """q = (1/2, 1/2): -(1/2 · 3 + 1/2 · 1) = -2 raw, over √5 normalised."""
    logits = torch.zeros(1, 2, dtype=torch.float64)
    update = StudentUpdate(loss=torch.tensor(0.0), logits=logits, feedback=torch.tensor([[3.0, 1.0]]).double())
    raw, unit = (
        teacher_feedback_loss(logits, update, {}, SingleProcess(), normalise=normalise, baseline=0.9).item()
        for normalise in (False, True)
    )
    assert raw == pytest.approx(-2.0)
    assert unit == pytest.approx(-2.0 / 5**0.5)


@pytest.mark.parametrize("feedback", ["exact", "difference"])
def test_feedback_uses_the_weights_and_the_dropout_mask_of_the_update(feedback):
    """F of a student with dropout: its own mask again, its weights before the step, and g after it."""
    p = problem(noisy_net)
    logits = p.teacher(p.batch.x_uw).detach()
    student, before = p.learners().student, p.learners().student
    torch.manual_seed(3)
    noise = get_rng_state(logits.device)
    update = student_step(student, logits, p.batch, SingleProcess(), feedback)

    _, gradient = fb.labelled_gradient(student.net, p.batch.x_l, p.batch.y_l, SingleProcess())
    measure = fb.exact if feedback == "exact" else fb.difference
    with replay_rng(noise, logits.device):
        matrix, _ = measure(before.net, before.weights(), gradient, p.batch.x_us, p.rate)
    torch.testing.assert_close(update.feedback, matrix, rtol=0, atol=1e-12)
    assert matrix.abs().max() > 1e-4


def test_h_is_that_of_all_processes():
    """A teacher so sure that its draws are no chance: two processes find the h of one."""
    p = problem(labelled=6)
    logits = 1e4 * torch.nn.functional.one_hot(torch.arange(6) % K, K).double()
    alone = student_step(p.learners().student, logits, p.batch, SingleProcess(), "reinforce").improvement
    pair, found = Pair(), [None, None]

    def work(rank):
        student = p.learners().student
        batch = half(p.batch, rank)
        found[rank] = student_step(student, logits.chunk(2)[rank], batch, pair, "reinforce").improvement

    pair.run(work)
    for h in found:
        torch.testing.assert_close(h, alone, rtol=0, atol=1e-12)
    assert alone.abs() > 1e-4
