"""Virtual Adversarial Training: the direction has a closed form for a linear network (float64)."""

import pytest
import torch
import torch.nn.functional as nnf
from torch import nn

from gradebook.mpl.methods import vat
from gradebook.mpl.step import Learner, SingleProcess
from tests.mpl.toy_problems import D, K, Pair, gradient, image_problem, noisy_net, problem, slope, step


def fisher(net, x):
    """Hessian of KL(p(x) ‖ p(x + r)) at r = 0 for logits Wx + b: Wᵀ (diag p - p pᵀ) W."""
    p = net(x[None]).softmax(-1)[0]
    return net.weight.t() @ (p.diag() - p.outer(p)) @ net.weight


def test_the_worst_direction_of_a_linear_network_is_its_fisher_matrixs_first_eigenvector():
    torch.manual_seed(0)
    net, x = nn.Linear(D, K).double(), torch.randn(5, D, dtype=torch.float64)
    learner = Learner(net=net, optimizer=torch.optim.SGD(net.parameters(), 0.1))
    probe = torch.tensor(1e-4, dtype=torch.float64)
    d = vat.worst_direction(learner, x, net(x).detach(), probe=probe, iterations=200)
    for row, at in zip(d, x, strict=True):
        values, vectors = torch.linalg.eigh(fisher(net, at).detach())
        assert values[-1] > 1.2 * values[-2], "two equal eigenvalues have no first eigenvector"
        assert abs(row @ vectors[:, -1]).item() == pytest.approx(1.0, abs=1e-5)
    assert net.weight.grad is None


def test_vat_step():
    """One power iteration by hand, then the loss with r and p(x) as constants."""
    p = problem()
    net, x = p.student, p.batch.x_uw
    length = (sum(row.square().sum() for row in x) / len(x)).sqrt()
    torch.manual_seed(5)
    d = torch.randn_like(x)
    d = d / d.norm(dim=1, keepdim=True)
    probabilities = net(x).softmax(-1).detach()

    def divergence(shift):
        return (probabilities * (probabilities.log() - nnf.log_softmax(net(x + shift), -1))).sum(-1)

    r = (0.02 * length * d).requires_grad_()
    (g,) = torch.autograd.grad(divergence(r).sum(), r)
    worst = 0.3 * length * g / g.norm(dim=1, keepdim=True)
    assert (divergence(worst) > divergence(0.3 * length * d)).float().mean() > 0.6, "worse than a random direction"
    entropy = -(net(x).softmax(-1) * nnf.log_softmax(net(x), -1)).sum(-1).mean()
    supervised = nnf.cross_entropy(net(p.batch.x_l), p.batch.y_l)
    loss = supervised + 2.0 * divergence(worst).mean() + 0.5 * entropy

    learners = p.learners()
    settings = {"radius": 0.3, "probe": 0.02, "vat_weight": 2.0, "entropy_weight": 0.5}
    torch.manual_seed(5)
    ours = slope(learners, lambda: step("vat", learners, p.batch, **settings))
    torch.testing.assert_close(ours, gradient(loss, net), rtol=0, atol=1e-9)
    assert gradient(divergence(worst).mean(), net).abs().max() > 1e-4


def test_the_perturbation_is_relative_to_the_norm_of_an_image():
    """Inputs and first layer scaled against each other: nothing the method reports changes."""
    p = problem()
    scaled = problem()
    with torch.no_grad():
        scaled.student[0].weight /= 50
    for name in ("x_l", "x_uw", "x_us"):
        object.__setattr__(scaled.batch, name, getattr(scaled.batch, name) * 50)
    losses = []
    for one in (p, scaled):
        torch.manual_seed(2)
        losses.append(step("vat", one.learners(), one.batch).scalars["vat_loss"])
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)
    assert losses[0] > 1e-6


def test_the_direction_is_the_same_under_half_precision():
    """Found in full precision, since a short probe is lost in bfloat16 (float32, cosine above 0.999)."""
    torch.manual_seed(0)
    net, x = nn.Linear(D, K), torch.randn(5, D)
    learner = Learner(net=net, optimizer=torch.optim.SGD(net.parameters(), 0.1))
    logits, found = net(x).detach(), []
    for half in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found.append(vat.worst_direction(learner, x, logits, probe=torch.tensor(0.01), iterations=1))
    assert nnf.cosine_similarity(*found).min() > 0.999


def test_the_typical_norm_is_averaged_over_all_processes():
    """Lengths 5, 5, 1, 1 have the root mean square √13, on each of two processes too; an image is one vector."""
    x = torch.tensor([[3.0, 4.0], [0.0, 5.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert vat.usual_length(x, SingleProcess()).item() == pytest.approx(13**0.5)
    assert vat.usual_length(x.view(4, 1, 2, 1), SingleProcess()).item() == pytest.approx(13**0.5)
    pair, lengths = Pair(), [None, None]

    def work(rank):
        lengths[rank] = vat.usual_length(x.chunk(2)[rank], pair).item()

    pair.run(work)
    assert lengths == [pytest.approx(13**0.5)] * 2


def test_the_direction_is_found_without_dropout_and_on_bytes():
    p = problem(noisy_net)
    learner = p.learners().student
    before = {n: b.clone() for n, b in learner.net.named_buffers()}
    probe = torch.tensor(1e-3, dtype=torch.float64)
    logits = torch.zeros(6, K, dtype=torch.float64)
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        found.append(vat.worst_direction(learner, p.batch.x_uw, logits, probe=probe, iterations=2))
    assert torch.equal(*found)
    assert all(torch.equal(b, before[n]) for n, b in learner.net.named_buffers())
    images = image_problem()
    assert step("vat", images.learners(), images.batch).scalars["vat_loss"] > 0
