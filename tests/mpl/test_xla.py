"""A step on XLA is the step on any device, compiled once. Only where torch_xla is installed: see docs/scale.md.

XLA's processor stands in for a TPU. Everything is in float64, in which the two agree to rounding.
"""

from dataclasses import fields, replace
from functools import partial

import pytest
import torch

from gradebook.mpl import feedback as fb
from gradebook.mpl.rng_state import get_rng_state, replay_rng
from gradebook.mpl.step import SingleProcess
from tests.mpl.test_every_method import problems, state, steps
from tests.mpl.toy_problems import convolution_problem, noisy_net, problem

torch_xla = pytest.importorskip("torch_xla", reason="XLA is checked where torch_xla is installed")

STEPS = 4
AS_EVER = [
    *((name, {}) for name in ("supervised", "pseudo_label", "uda", "fixmatch", "flexmatch", "freematch", "softmatch")),
    ("temporal_ensembling", {}),
    *(
        ("mpl", {"feedback": feedback, "view": view})
        for feedback in ("exact", "difference")
        for view in ("weak", "strong")
    ),
    ("mpl", {"feedback": "none"}),
    ("reduced_mpl", {}),
]
DRAWING = [(name, {}) for name in ("mixmatch", "remixmatch", "vat", "ict", "mean_teacher")]


PROBLEMS = {
    **{name: lambda name=name: problems()[name] for name in ("features", "batchnorm")},
    "residual": partial(convolution_problem, drop_rate=0.0),
}


def on(device, p, momentum=0.9):
    """Returns learners and batch of a problem on a device."""
    learners = p.learners(momentum=momentum, device=device)
    learners.student.clip = learners.teacher.clip = 1.0
    return learners, replace(p.batch, **{f.name: getattr(p.batch, f.name).to(device) for f in fields(p.batch)})


def taken(device, p, name, settings):
    """Does some steps; returns the state and the last step's feedback, and of each step what XLA compiled and read."""
    import torch_xla.debug.metrics as met

    learners, batch = on(device, p)
    compiled, read = [], []
    for at in range(STEPS):
        met.clear_all()
        report = steps(learners, batch, name, settings, first=at, last=at + 1)[0]
        if device.type == "xla":
            torch_xla.sync()
        compiled.append(met.counter_value("UncachedCompile") or 0)
        read.append(met.counter_value("aten::_local_scalar_dense") or 0)
    feedback = None if report.predictions is None else report.predictions.feedback
    found = {key: value.cpu() for key, value in state(learners).items()}
    return found, None if feedback is None else feedback.cpu(), compiled, read


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize(("name", "settings"), AS_EVER)
def test_steps_on_xla_equal_those_on_the_cpu(xla_device, name, settings, kind):
    want, feedback, *_ = taken(torch.device("cpu"), PROBLEMS[kind](), name, settings)
    found, feedback_on_xla, compiled, read = taken(xla_device, PROBLEMS[kind](), name, settings)
    for key, value in want.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-9, msg=lambda m, key=key: f"{key}: {m}")
    if feedback is not None:
        assert feedback.abs().max() > 1e-3
        torch.testing.assert_close(feedback_on_xla, feedback, rtol=1e-8, atol=1e-10)
    assert compiled[2:] == [0] * (STEPS - 2), "the second step has momentum, later ones are the same program"
    assert read == [0] * STEPS, "the host waits for no number"


@pytest.mark.parametrize(("name", "settings"), DRAWING)
def test_steps_with_random_numbers_are_one_program_too(xla_device, name, settings):
    found, _, compiled, read = taken(xla_device, PROBLEMS["residual"](), name, settings)
    assert all(torch.isfinite(value).all() for value in found.values())
    assert compiled[3:] == [0] and read == [0] * STEPS


def test_the_same_noise_is_drawn_again_and_then_other_noise(xla_device):
    x = torch.ones(64, device=xla_device)
    state = get_rng_state(xla_device)
    first, second = (torch.nn.functional.dropout(x) for _ in range(2))
    with replay_rng(state, xla_device):
        again, then = (torch.nn.functional.dropout(x) for _ in range(2))
    later = torch.nn.functional.dropout(x)
    assert torch.equal(first.cpu(), again.cpu()) and torch.equal(second.cpu(), then.cpu())
    assert not any(torch.equal(later.cpu(), other.cpu()) for other in (first, second))


def test_both_evaluations_of_a_difference_draw_the_same_noise(xla_device):
    p = problem(noisy_net, labelled=6)
    learners, batch = on(xla_device, p, momentum=0.0)
    net = learners.student.net
    before = {name: weight.clone() for name, weight in learners.student.weights().items()}
    _, gradient = fb.labelled_gradient(net, batch.x_l, batch.y_l, SingleProcess())
    noise = get_rng_state(xla_device)
    with replay_rng(noise, xla_device):
        exact, _ = fb.exact(net, before, gradient, batch.x_us, 0.1)
    with replay_rng(noise, xla_device):
        difference, _ = fb.difference(net, before, gradient, batch.x_us, 0.1)
    assert exact.abs().max() > 1e-4
    torch.testing.assert_close(difference.cpu(), exact.cpu(), rtol=1e-3, atol=1e-6)
