"""The example files do what they say."""

import runpy
from pathlib import Path

import torch

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_exact_feedback_is_the_labelled_loss_that_each_label_saves():
    """By autograd through the student's step, which shares nothing with the forward-mode product."""
    example = runpy.run_path(str(EXAMPLES / "exact_feedback.py"))
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.nn.Linear(4, 3).double() for _ in range(2))
    x_l, x_u = (torch.randn(n, 4, dtype=torch.float64, generator=generator) for n in (5, 6))
    y_l, rate = torch.arange(5) % 3, 0.3
    q = teacher(x_u).softmax(-1).detach().requires_grad_()
    weights = [p.detach().clone().requires_grad_() for p in student.parameters()]
    loss = torch.nn.functional.cross_entropy(torch.nn.functional.linear(x_u, *weights), q)
    moved = [w - rate * g for w, g in zip(weights, torch.autograd.grad(loss, weights, create_graph=True), strict=True)]
    after = torch.nn.functional.cross_entropy(torch.nn.functional.linear(x_l, *moved), y_l)
    expected = -len(x_u) * torch.autograd.grad(after, q)[0]
    optimizers = [torch.optim.SGD(net.parameters(), lr=rate) for net in (student, teacher)]
    feedback = example["feedback_step"](student, teacher, x_l, y_l, x_u, optimizers)
    torch.testing.assert_close(feedback, expected, rtol=0, atol=1e-9)
    assert feedback.abs().max() > 1e-3, "a vanishing feedback would make this test vacuous"


def test_the_example_trains_a_student_that_is_better_than_chance(capsys):
    assert runpy.run_path(str(EXAMPLES / "exact_feedback.py"))["main"](steps=100) > 0.7
    assert "nats" in capsys.readouterr().out
