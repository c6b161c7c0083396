"""MixMatch and ReMixMatch against their algorithms in loops, and the rotation loss (float64, 1e-9)."""

import copy

import pytest
import torch
import torch.nn.functional as nnf

from gradebook.mpl.methods import remixmatch
from gradebook.mpl.step import StepIndex
from tests.mpl.toy_problems import K, gradient, image_problem, problem, slope, step

END = StepIndex(9, 10)


def sharpened(q, temperature):
    powers = [v ** (1 / temperature) for v in q]
    return torch.stack(powers) / sum(powers)


def mixed(rows, seed, alpha=0.75):
    """MixUp of (input, target) rows with the same rows in another order, each nearer to its own part."""
    torch.manual_seed(seed)
    order = torch.randperm(len(rows))
    a = torch.tensor(alpha, dtype=torch.float64)
    shares = torch.distributions.Beta(a, a).sample((len(rows),))
    out = []
    for (x, y), j, share in zip(rows, order, shares, strict=True):
        share = max(share, 1 - share)
        out.append((share * x + (1 - share) * rows[j][0], share * y + (1 - share) * rows[j][1]))
    return out


def cross_entropy(net, x, y):
    return -(y * nnf.log_softmax(net(x[None]), -1)[0]).sum()


def labelled_rows(b):
    return [(x, nnf.one_hot(y, K).double()) for x, y in zip(b.x_l, b.y_l, strict=True)]


def test_mixmatch_step():
    p = problem()
    b, net = p.batch, p.student
    with torch.no_grad():
        guesses = [
            sharpened((net(w[None]).softmax(-1)[0] + net(s[None]).softmax(-1)[0]) / 2, 0.5)
            for w, s in zip(b.x_uw, b.x_us, strict=True)
        ]
    rows = labelled_rows(b) + list(zip(b.x_uw, guesses, strict=True)) + list(zip(b.x_us, guesses, strict=True))
    mixes = mixed(rows, 4)
    supervised = sum(cross_entropy(net, x, y) for x, y in mixes[:5]) / 5
    guess = sum((net(x[None]).softmax(-1)[0] - y).square().sum() for x, y in mixes[5:]) / (12 * K)
    learners = p.learners()
    torch.manual_seed(4)
    ours = slope(learners, lambda: step("mixmatch", learners, b, END))
    torch.testing.assert_close(ours, gradient(supervised + 75 * guess, net), rtol=0, atol=1e-9)
    assert gradient(guess, net).abs().max() > 1e-4


def test_remixmatch_steps():
    """Three steps on features: alignment uses the means of 128 entries from before the step."""
    p = problem()
    b, learners = p.batch, p.learners()
    labels = [[1 / K] * K for _ in range(128)]
    opinions = copy.deepcopy(labels)
    for at in range(3):
        net = copy.deepcopy(learners.student.net)
        with torch.no_grad():
            weak = net(b.x_uw).softmax(-1)
        guesses = []
        for q in weak:
            ratio = [
                q[c] * (sum(e[c] for e in labels) / 128 + 1e-6) / (sum(e[c] for e in opinions) / 128 + 1e-6)
                for c in range(K)
            ]
            guesses.append(sharpened(torch.stack([r / sum(ratio) for r in ratio]), 0.5))
        labels = [*labels[1:], [b.y_l.tolist().count(c) / 5 for c in range(K)]]
        opinions = [*opinions[1:], weak.mean(0).tolist()]

        rows = labelled_rows(b) + list(zip(b.x_us, guesses, strict=True)) + list(zip(b.x_uw, guesses, strict=True))
        mixes = mixed(rows, at)
        loss = sum(cross_entropy(net, x, y) for x, y in mixes[:5]) / 5
        loss = loss + 1.5 * sum(cross_entropy(net, x, y) for x, y in mixes[5:]) / 12
        loss = loss + 0.5 * sum(cross_entropy(net, x, y) for x, y in zip(b.x_us, guesses, strict=True)) / 6
        torch.manual_seed(at)
        ours = slope(learners, lambda: step("remixmatch", learners, b, END))
        torch.testing.assert_close(ours, gradient(loss, net), rtol=0, atol=1e-9)
    torch.testing.assert_close(learners.memory["labels"], torch.tensor(labels).double(), rtol=0, atol=1e-7)
    torch.testing.assert_close(learners.memory["guesses"], torch.tensor(opinions).double(), rtol=0, atol=1e-7)
    assert "rotation" not in learners.memory


def test_alignment_by_hand():
    """Half the labels and a quarter of the opinions are class 0: it counts twice, class 1 two thirds."""
    p = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    got = remixmatch.aligned(p, torch.tensor([0.5, 0.5]).double(), torch.tensor([0.25, 0.75]).double())
    torch.testing.assert_close(got, torch.tensor([[0.75, 0.25]], dtype=torch.float64), rtol=0, atol=1e-5)


def test_a_quarter_turn_by_hand():
    image = torch.tensor([[[1, 2], [3, 4]]])
    turned = remixmatch.turned(image.repeat(4, 1, 1, 1), torch.arange(4))[:, 0]
    assert turned.tolist() == [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]


def test_images_that_are_not_square_cannot_be_turned():
    with pytest.raises(ValueError, match="square"):
        remixmatch.turned(torch.zeros(1, 3, 4, 6), torch.zeros(1, dtype=torch.int64))


def test_rotation_trains_the_features_and_a_head_of_its_own():
    """The second step, when the head is no longer zero: all gradients against autograd."""
    p = image_problem()
    learners = p.learners()
    step("remixmatch", learners, p.batch, END)
    net = copy.deepcopy(learners.student.net)
    head = learners.memory["rotation"].clone().requires_grad_()
    assert head.abs().max() > 1e-6

    slopes = {}
    for weight in (0.0, 0.5):
        other = p.learners()
        other.student.net.load_state_dict(net.state_dict())
        other.memory = {k: v.clone() for k, v in learners.memory.items()}
        torch.manual_seed(3)
        slopes[weight] = slope(other, lambda o=other, w=weight: step("remixmatch", o, p.batch, END, rotation_weight=w))

    torch.manual_seed(3)
    rows = 5 + 12
    torch.randperm(rows)
    a = torch.tensor(0.75)
    torch.distributions.Beta(a, a).sample((rows,))
    quarters = torch.randint(4, (6,))
    turned = torch.stack([torch.rot90(x, int(q), (1, 2)) for x, q in zip(p.batch.x_us, quarters, strict=True)])
    features = net.layers(turned.double() / 255)
    loss = 0.5 * nnf.cross_entropy(features @ head[:, :-1].t() + head[:, -1], quarters)
    torch.testing.assert_close(slopes[0.5] - slopes[0.0], gradient(loss, net), rtol=0, atol=1e-6)
    assert gradient(loss, net).abs().max() > 1e-4
    expected = head - p.rate * torch.autograd.grad(loss, head)[0]
    torch.testing.assert_close(other.memory["rotation"], expected.detach(), rtol=0, atol=1e-9)
