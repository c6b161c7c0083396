"""A batch that goes through in parts gives the step of the whole batch (float64), and keeps less."""

import pytest
import torch
from torch import nn

from gradebook.mpl.accumulation import accumulate
from tests.mpl.test_every_method import HARD, VARIANTS, state, steps
from tests.mpl.toy_problems import flat, image_problem, plain_net, problem

UNEVEN = 4  # parts of 6 labelled images, of 7 unlabelled ones, and of both together


def divided(learners):
    for learner in (learners.student, learners.teacher):
        accumulate(learner.net, UNEVEN)
    return learners


@pytest.mark.parametrize(("name", "settings"), VARIANTS + HARD)
@pytest.mark.parametrize("kind", [problem, image_problem])
def test_every_method_does_the_same_steps(name, settings, kind):
    """No BatchNorm, which normalises within a part, and no dropout, which draws a part at a time."""
    settings = settings | ({"rotation_weight": 0.0} if name == "remixmatch" else {})
    p = kind(labelled=6, unlabelled=7)
    found = []
    for change in (lambda learners: learners, divided):
        torch.manual_seed(1)
        learners = change(p.learners(momentum=0.9))
        reports = steps(learners, p.batch, name, settings, last=5)
        found.append((state(learners), reports[-1]))
    (whole, report), (parts, report_of_parts) = found
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=0, atol=1e-10, msg=lambda m, key=key: f"{key}: {m}")
    for key, value in report.scalars.items():
        torch.testing.assert_close(report_of_parts.scalars[key], value, rtol=0, atol=1e-10)
    if report.predictions is not None and report.predictions.feedback is not None:
        assert report.predictions.feedback.abs().max() > 1e-6
        torch.testing.assert_close(
            report_of_parts.predictions.feedback, report.predictions.feedback, rtol=0, atol=1e-10
        )
    assert not torch.equal(whole["0"], flat(p.student)), "nothing moved: the test would be vacuous"


def test_remixmatch_refuses_to_rotate_images_in_parts():
    p = image_problem(labelled=6)
    with pytest.raises(ValueError, match="--rotation-weight 0, or --accumulate 1"):
        steps(divided(p.learners()), p.batch, "remixmatch", {})


def test_each_part_has_its_share_and_results_come_back_in_order():
    seen = []

    class Recording(nn.Module):
        def forward(self, x):
            seen.append(x[:, 0].tolist())
            return 10 * x

    net = Recording()
    accumulate(net, 3)
    x = torch.arange(7.0)[:, None]
    assert torch.equal(net(x), 10 * x)
    assert seen == [[0, 3, 6], [1, 4], [2, 5]]


def test_fewer_images_than_parts_are_a_part_each():
    net = plain_net()
    x = torch.randn(2, 4)
    whole = net(x)
    accumulate(net, 5)
    torch.testing.assert_close(net(x), whole)


def test_batchnorm_counts_each_part_once():
    """The second computation, for the backward pass, leaves the running statistics alone."""
    net, parts = nn.BatchNorm1d(2).double(), nn.BatchNorm1d(2).double()
    x = torch.randn(8, 2, dtype=torch.float64)
    for k in range(4):
        net(x[k::4])
    accumulate(parts, 4)
    parts(x).square().sum().backward()
    assert parts.num_batches_tracked == 4
    torch.testing.assert_close(parts.running_mean, net.running_mean)
    torch.testing.assert_close(parts.running_var, net.running_var)


def test_one_parts_graph_is_alive_at_a_time():
    """Counts the numbers saved for the backward pass, as they are saved and freed."""
    x = torch.randn(64, 4)
    most = []
    for parts in (1, 8):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 100), nn.Tanh(), nn.Linear(100, 100), nn.Tanh(), nn.Linear(100, 3))
        accumulate(net, parts)
        most.append(_most_alive(lambda net=net: net(x).square().sum().backward()))
    assert most[1] < most[0] / 4


def _most_alive(work) -> int:
    """Returns the largest count of numbers saved for a backward pass at a time."""
    alive, most = 0, 0

    class Kept:
        def __init__(self, tensor):
            nonlocal alive, most
            self.tensor = tensor
            alive += tensor.numel()
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= self.tensor.numel()

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        work()
    return most
