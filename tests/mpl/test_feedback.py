"""The identities that make the feedback Meta Pseudo Labels and not something near it (float64, tiny networks)."""

import pytest
import torch
import torch.nn.functional as nnf
from torch.func import functional_call

from gradebook.mpl import feedback as fb
from gradebook.mpl.rng_state import get_rng_state, replay_rng
from gradebook.mpl.step import SingleProcess
from tests.mpl.toy_problems import K, noisy_net, norm_net, plain_net, problem

NETS = [plain_net, norm_net, noisy_net]


def unrolled_labelled_loss(p, q, *, noise, extra=None):
    """L_l after one gradient step of the student on labels q (U, K), with the graph through the step."""
    names = dict(p.student.named_parameters())
    with replay_rng(noise, p.batch.x_us.device):
        logits = fb.functional_forward(p.student, names, p.batch.x_us)
    loss = -(q * nnf.log_softmax(logits, -1)).sum(-1).mean()
    gradient = torch.autograd.grad(loss, list(names.values()), create_graph=True)
    after = {n: w - p.rate * g for (n, w), g in zip(names.items(), gradient, strict=True)}
    buffers = {n: b.clone() for n, b in p.student.named_buffers()}
    with fb.dropout_off(p.student):
        return nnf.cross_entropy(functional_call(p.student, {**after, **buffers}, (p.batch.x_l,)), p.batch.y_l)


def student_step_and_feedback(p, q, measure=fb.exact, *, noise, **options):
    """F (U, K) as the product computes it: a step, g after it, one forward-mode product before it."""
    before = {n: w.detach().clone() for n, w in p.student.named_parameters()}
    with replay_rng(noise, p.batch.x_us.device):
        logits = fb.functional_forward(p.student, dict(p.student.named_parameters()), p.batch.x_us)
    loss = -(q.detach() * nnf.log_softmax(logits, -1)).sum(-1).mean()
    gradient = torch.autograd.grad(loss, list(p.student.parameters()))
    with torch.no_grad():
        for w, g in zip(p.student.parameters(), gradient, strict=True):
            w -= p.rate * g
    _, labelled = fb.labelled_gradient(p.student, p.batch.x_l, p.batch.y_l, SingleProcess())
    with replay_rng(noise, p.batch.x_us.device):
        matrix, _ = measure(p.student, before, labelled, p.batch.x_us, p.rate, **options)
    with torch.no_grad():
        for w, old in zip(p.student.parameters(), before.values(), strict=True):
            w.copy_(old)
    return matrix


@pytest.mark.parametrize("make", NETS)
def test_gradient_of_the_feedback_loss_is_the_gradient_through_the_students_step(make):
    p = problem(make)
    noise = get_rng_state(p.batch.x_us.device)
    teacher = list(p.teacher.parameters())

    q = p.teacher(p.batch.x_uw).softmax(-1)
    oracle = torch.autograd.grad(unrolled_labelled_loss(p, q, noise=noise), teacher, retain_graph=True)
    matrix = student_step_and_feedback(p, q, noise=noise)
    ours = torch.autograd.grad(-(q * matrix).sum(-1).mean(), teacher)

    for mine, exact in zip(ours, oracle, strict=True):
        torch.testing.assert_close(mine, exact, rtol=0, atol=1e-9)
    assert max(g.abs().max() for g in oracle) > 1e-4, "a vanishing gradient would make this test vacuous"


def test_feedback_loss_has_the_gradient_of_its_docstring():
    """-(1/U) q_c (F_c - Σ q F), and F itself gets none."""
    logits = torch.randn(4, K, dtype=torch.float64, requires_grad=True)
    matrix = torch.randn(4, K, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(fb.feedback_loss(logits, matrix), logits)
    q = logits.detach().softmax(-1)
    torch.testing.assert_close(gradient, -q * (matrix - (q * matrix).sum(-1, keepdim=True)) / 4, rtol=0, atol=1e-12)
    with pytest.raises(AssertionError):
        fb.feedback_loss(logits, matrix.requires_grad_())


@pytest.mark.parametrize("make", NETS)
def test_difference_agrees_with_exact(make):
    p = problem(make)
    noise = get_rng_state(p.batch.x_us.device)
    q = p.teacher(p.batch.x_uw).softmax(-1).detach()
    exact = student_step_and_feedback(p, q, noise=noise)

    near = student_step_and_feedback(p, q, fb.difference, noise=noise, relative_step=1e-5)
    torch.testing.assert_close(near, exact, rtol=1e-5, atol=1e-8)
    assert exact.abs().max() > 1e-4


@pytest.mark.parametrize("make", NETS)
def test_feedback_of_one_image_and_class_agrees_with_brute_force(make):
    """Raise q_ic a little, repeat the step, measure the labelled loss: F_ic = -U dL/dq_ic."""
    p = problem(make)
    noise = get_rng_state(p.batch.x_us.device)
    q = p.teacher(p.batch.x_uw).softmax(-1).detach()
    matrix = student_step_and_feedback(p, q, noise=noise)
    tiny = 1e-6
    for i in range(2):
        for c in range(K):
            bump = torch.zeros_like(q)
            bump[i, c] = tiny
            up, down = (unrolled_labelled_loss(p, q + s * bump, noise=noise).item() for s in (1, -1))
            assert matrix[i, c].item() == pytest.approx(-len(q) * (up - down) / (2 * tiny), rel=1e-4, abs=1e-8)


def test_reinforce_over_all_labels_of_one_image_is_the_exact_gradient():
    """One image, K labels: the expectation over ŷ is a sum, so REINFORCE is an identity to first order in η.

    h is the loss before minus after a step on ŷ. Its expectation's gradient Σ_c ∇q_c h_c is the exact one of
    Σ_c q_c h_c; for a small step h_c is linear, and h_c = F_c up to a constant in c that the softmax removes.
    """
    p = problem(unlabelled=1)
    p.rate = 1e-5
    noise = get_rng_state(p.batch.x_us.device)
    logits = p.teacher(p.batch.x_uw)
    teacher = list(p.teacher.parameters())
    labelled_before = nnf.cross_entropy(p.student(p.batch.x_l), p.batch.y_l).detach()

    expected = [torch.zeros_like(w) for w in teacher]
    for c in range(K):
        label = nnf.one_hot(torch.tensor([c]), K).double()
        after = unrolled_labelled_loss(p, label, noise=noise).detach()
        h = fb.reinforce_feedback(labelled_before, after)
        loss = fb.reinforce_loss(logits, torch.tensor([c]), h)
        for total, g in zip(expected, torch.autograd.grad(loss, teacher, retain_graph=True), strict=True):
            total += logits.softmax(-1)[0, c].detach() * g

    q = logits.softmax(-1)
    exact = torch.autograd.grad(unrolled_labelled_loss(p, q, noise=noise), teacher)
    largest = max(g.abs().max() for g in exact)
    for mine, oracle in zip(expected, exact, strict=True):
        torch.testing.assert_close(mine / largest, oracle / largest, rtol=0, atol=1e-4)
    assert largest > 1e-8


def test_the_released_form_has_no_gradient():
    """Guards the reason `sampled_labels` exists (google-research issue 534): h · CE(sg(q), z) teaches nothing."""
    logits = torch.randn(6, K, dtype=torch.float64, requires_grad=True)
    released = 0.7 * -(logits.softmax(-1).detach() * nnf.log_softmax(logits, -1)).sum(-1).mean()
    (gradient,) = torch.autograd.grad(released, logits)
    assert gradient.abs().max() < 1e-12
    ours = fb.reinforce_loss(logits, fb.sampled_labels(logits), torch.tensor(0.7))
    assert torch.autograd.grad(ours, logits)[0].abs().max() > 1e-2


def test_feedback_does_not_change_batchnorm_statistics():
    p = problem(norm_net)
    before = {n: b.clone() for n, b in p.student.named_buffers()}
    q = p.teacher(p.batch.x_uw).softmax(-1).detach()
    student_step_and_feedback(p, q, noise=get_rng_state(p.batch.x_us.device))
    student_step_and_feedback(p, q, fb.difference, noise=get_rng_state(p.batch.x_us.device))
    assert p.student.training
    for name, buffer in p.student.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_half_precision_does_not_round_differences_away():
    p = problem()
    for net in (p.student, p.teacher):
        net.float()
    x_l, x_u = p.batch.x_l.float(), p.batch.x_us.float()
    before = {n: w.detach().clone() for n, w in p.student.named_parameters()}
    _, gradient = fb.labelled_gradient(p.student, x_l, p.batch.y_l, SingleProcess())
    exact, _ = fb.exact(p.student, before, gradient, x_u, p.rate)
    with torch.autocast("cpu", torch.bfloat16):
        assert p.student(x_u).dtype == torch.bfloat16
        near, _ = fb.difference(p.student, before, gradient, x_u, p.rate)
    torch.testing.assert_close(near, exact, rtol=0.01, atol=1e-3 * exact.abs().max().item())


def test_differences_restore_the_weights_exactly():
    """Bit for bit, and whether or not they are handed the network's own tensors as those before the step."""
    p = problem()
    kept = {n: w.detach().clone() for n, w in p.student.named_parameters()}
    _, gradient = fb.labelled_gradient(p.student, p.batch.x_l, p.batch.y_l, SingleProcess())
    own = {n: w.detach() for n, w in p.student.named_parameters()}
    one, _ = fb.difference(p.student, own, gradient, p.batch.x_us, p.rate)
    two, _ = fb.difference(p.student, kept, gradient, p.batch.x_us, p.rate)
    assert torch.equal(one, two)
    assert all(torch.equal(w, kept[n]) for n, w in p.student.named_parameters())


def test_normalised_feedback_has_unit_scale():
    matrix = 1e-5 * torch.randn(50, K, dtype=torch.float64)
    assert fb.normalised(matrix, SingleProcess()).square().mean().item() == pytest.approx(1.0)
    assert torch.isfinite(fb.normalised(torch.zeros(4, K), SingleProcess())).all()


def test_sampled_labels_follow_the_teacher():
    logits = torch.tensor([[2.0, 0.0, -2.0]]).repeat(20_000, 1)
    drawn = torch.bincount(fb.sampled_labels(logits, torch.Generator().manual_seed(0)), minlength=K) / 20_000
    torch.testing.assert_close(drawn, logits[0].softmax(-1), rtol=0, atol=0.01)


def test_noise_is_replayed_and_then_continues():
    x = torch.zeros(())
    torch.manual_seed(0)
    state = get_rng_state(x.device)
    first, second = torch.rand(3), torch.rand(3)
    with replay_rng(state, x.device):
        assert torch.equal(torch.rand(3), first)
    assert not torch.equal(torch.rand(3), second)
