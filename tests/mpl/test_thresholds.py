"""FixMatch, FlexMatch, FreeMatch and SoftMatch against their papers in loops (float64, 1e-10)."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as nnf

from gradebook.mpl import losses
from gradebook.mpl.methods import flexmatch, freematch, softmatch
from gradebook.mpl.step import SingleProcess
from tests.mpl.toy_problems import SPARE, K, gradient, problem, slope, step

SURE = 0.42  # between the probabilities of the tiny networks: some images are confident and some are not


def apart(**sizes):
    """A problem whose strong views have nothing to do with its weak ones, so that taking one for the other shows."""
    p = problem(**sizes)
    return replace(p, batch=replace(p.batch, x_us=p.batch.x_us.flip(0) * 2))


def opinion(p, net=None):
    """Returns the network's predictions on the weak views: probability of, and the most probable class."""
    with torch.no_grad():
        return (net or p.student)(p.batch.x_uw).softmax(-1)


def masked_cross_entropy(p, net, weights):
    """The loss of all four papers: CE(y_l) + (1/U) Σ weight CE(likeliest class of the weak view, strong view)."""
    loss = nnf.cross_entropy(net(p.batch.x_l), p.batch.y_l)
    labels = opinion(p, net).argmax(-1)
    for i, weight in enumerate(weights):
        loss = loss - weight * nnf.log_softmax(net(p.batch.x_us[i : i + 1]), -1)[0, labels[i]] / len(weights)
    return loss


def test_fixmatch_step():
    p = apart()
    learners = p.learners()
    mask = [float(q.max() >= SURE) for q in opinion(p)]
    assert 0 < sum(mask) < len(mask)
    ours = slope(learners, lambda: step("fixmatch", learners, p.batch, threshold=SURE))
    torch.testing.assert_close(ours, gradient(masked_cross_entropy(p, p.student, mask), p.student), rtol=0, atol=1e-10)


def test_a_weak_view_exactly_at_the_threshold_is_used():
    logits = torch.zeros(1, 2)
    assert losses.confident(logits, 0.5).tolist() == [1.0]
    assert losses.confident(logits, 0.5001).tolist() == [0.0]


def test_flexmatch_thresholds_by_hand():
    """Seven samples without a label: three last confident as 0, one as 1, three unused: β = (1, 1/3, 0)."""
    last = torch.tensor([-1, 0, 0, 0, 1, -1, -1, -1])
    got = flexmatch.class_thresholds(last, 7, K, 0.9)
    torch.testing.assert_close(got, 0.9 * torch.tensor([1.0, 1 / 5, 0.0], dtype=torch.float64))


def test_flexmatch_thresholds_rise_from_zero_while_most_samples_are_unused():
    """One of ten: β = 1/9, not 1 (threshold warm-up). A labelled sample, which never comes up, is not unused."""
    last = torch.full((30,), -1)
    assert flexmatch.class_thresholds(last, 10, K, 0.9).tolist() == [0.0] * K
    last[4] = 2
    share = 1 / 9
    assert flexmatch.class_thresholds(last, 10, K, 0.9)[2].item() == pytest.approx(0.9 * share / (2 - share))


@pytest.mark.parametrize("first", [{}, {SPARE + n: 1 + n // 8 for n in range(12)}])
def test_flexmatch_steps(first):
    """Three steps against the algorithm in loops, from nothing or from a class of eight samples and one of four."""
    p = apart(unlabelled=12)
    learners = p.learners()
    last, seen, kept, sure = dict(first), set(), set(), 0.58
    if first:
        learners.memory["last_confident"] = torch.tensor([first.get(n, -1) for n in range(12 + SPARE)])
    for _ in range(3):
        now = copy.deepcopy(learners.student.net)
        counts = [sum(1 for c in last.values() if c == k) for k in range(K)]
        most = max([*counts, 12 - sum(counts)])
        beta = [n / most for n in counts]
        thresholds = [sure * b / (2 - b) for b in beta]
        mask = []
        for i, q in enumerate(opinion(p, now)):
            c = int(q.argmax())
            mask.append(float(q[c] >= thresholds[c]))
            if q[c] >= sure:
                last[int(p.batch.id_u[i])] = c
        ours = slope(learners, lambda: step("flexmatch", learners, p.batch, threshold=sure))
        torch.testing.assert_close(ours, gradient(masked_cross_entropy(p, now, mask), now), rtol=0, atol=1e-10)
        seen.add(tuple(thresholds))
        kept.add(sum(mask))
    assert learners.memory["last_confident"].tolist() == [last.get(n, -1) for n in range(12 + SPARE)]
    assert len(seen) > 1 and len(set(last.values())) == 2
    assert (min(kept) < 12) == bool(first), "thresholds that nobody misses would make this test vacuous"


def naive_fairness(strong, mask, p, h):
    """Equation by equation: sums over the masked images, each class by itself."""
    k = strong.shape[-1]
    kept = [q for q, m in zip(strong.softmax(-1), mask, strict=True) if m]
    mean = [sum(q[c] for q in kept) / len(kept) for c in range(k)]
    share = [sum(float(q.argmax() == c) for q in kept) / len(kept) for c in range(k)]
    there = [c for c in range(k) if share[c] > 0]
    target = [p[c] / h[c] for c in range(k)]
    ours = [mean[c] / share[c] if c in there else 0.0 for c in range(k)]
    return sum(target[c] / sum(target) * (ours[c] / sum(ours)).log() for c in there)


@pytest.mark.parametrize("seed", range(3))
def test_freematch_fairness(seed):
    torch.manual_seed(seed)
    strong = torch.randn(8, K, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([1.0, 1, 1, 0, 1, 0, 1, 1], dtype=torch.float64)
    p, h = torch.tensor([0.2, 0.3, 0.5]).double(), torch.tensor([0.25, 0.25, 0.5]).double()
    ours = freematch.fairness(strong, mask, losses.rescaled(p / h), SingleProcess())
    naive = naive_fairness(strong, mask, p, h)
    torch.testing.assert_close(ours, naive, rtol=0, atol=1e-12)
    slopes = [torch.autograd.grad(loss, strong, retain_graph=True)[0] for loss in (ours, naive)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)
    assert slopes[0].abs().max() > 1e-3


def test_freematch_fairness_without_a_confident_sample_is_zero():
    strong = torch.randn(4, K, dtype=torch.float64, requires_grad=True)
    loss = freematch.fairness(strong, torch.zeros(4).double(), torch.full((K,), 1 / K).double(), SingleProcess())
    assert loss.item() == 0
    assert torch.autograd.grad(loss, strong)[0].abs().max() == 0


def test_freematch_steps():
    p = apart(unlabelled=10)
    learners = p.learners()
    decay, confidence, prob, share = 0.6, 1 / K, [1 / K] * K, [1 / K] * K
    kept = set()
    for _ in range(4):
        now = copy.deepcopy(learners.student.net)
        q = opinion(p, now)
        confidence = decay * confidence + (1 - decay) * q.amax(-1).mean().item()
        prob = [decay * prob[c] + (1 - decay) * q[:, c].mean().item() for c in range(K)]
        found = q.argmax(-1).tolist()
        share = [decay * share[c] + (1 - decay) * found.count(c) / len(found) for c in range(K)]
        mask = [float(row[c] >= confidence * prob[c] / max(prob)) for row, c in zip(q, found, strict=True)]
        kept.add(sum(mask))
        loss = masked_cross_entropy(p, now, mask) + 0.3 * naive_fairness(now(p.batch.x_us), mask, prob, share)
        ours = slope(learners, lambda: step("freematch", learners, p.batch, decay=decay, fairness_weight=0.3))
        torch.testing.assert_close(ours, gradient(loss, now), rtol=0, atol=1e-10)
    assert learners.memory["confidence"].item() == pytest.approx(confidence)
    torch.testing.assert_close(learners.memory["class_probability"], torch.tensor(prob).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(learners.memory["class_share"], torch.tensor(share).double(), atol=1e-6, rtol=0)
    assert any(0 < n < 10 for n in kept)


def test_softmatch_weight_by_hand():
    """At the mean and above 1; one standard deviation below it exp(-1/2); two below, exp(-2)."""
    sure = torch.tensor([0.9, 0.7, 0.6, 0.5], dtype=torch.float64)
    got = softmatch.truncated_gaussian(sure, torch.tensor(0.7).double(), torch.tensor(0.01).double())
    expected = torch.tensor([1.0, 1.0, math.exp(-0.5), math.exp(-2.0)], dtype=torch.float64)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_softmatch_steps():
    p = apart(unlabelled=10)
    learners = p.learners()
    decay, mean, variance, prob = 0.6, 1 / K, 1.0, None
    lowest = 1.0
    for _ in range(3):
        now = copy.deepcopy(learners.student.net)
        q = opinion(p, now)
        prob = q.mean(0) if prob is None else decay * prob + (1 - decay) * q.mean(0)
        sure = [float((row / prob / (row / prob).sum()).max()) for row in q]
        mean = decay * mean + (1 - decay) * sum(sure) / 10
        batch_mean = sum(sure) / 10
        variance = decay * variance + (1 - decay) * sum((s - batch_mean) ** 2 for s in sure) / 9
        weights = [1.0 if s >= mean else math.exp(-((s - mean) ** 2) / (2 * variance / 100)) for s in sure]
        lowest = min(lowest, *weights)
        ours = slope(learners, lambda: step("softmatch", learners, p.batch, decay=decay, sharpness=10.0))
        torch.testing.assert_close(ours, gradient(masked_cross_entropy(p, now, weights), now), rtol=0, atol=1e-10)
    assert lowest < 0.95, "weights that are all one would make this test vacuous"
    assert learners.memory["confidence"].item() == pytest.approx(mean)
    assert learners.memory["variance"].item() == pytest.approx(variance)
