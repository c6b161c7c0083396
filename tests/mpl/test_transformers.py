"""Exact feedback on networks with attention, and differences at the step that they choose (random weights)."""

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradebook.mpl import feedback as fb
from gradebook.mpl.activation_recompute import recompute_activations
from gradebook.mpl.rng_state import get_rng_state, replay_rng
from gradebook.mpl.sharding import recompute
from gradebook.mpl.step import Batch, Learner, SingleProcess, averaged, evaluating
from gradebook.mpl.student_step import student_step
from tests.mpl.test_feedback import student_step_and_feedback, unrolled_labelled_loss
from tests.mpl.toy_problems import SPARE, K, Problem

SIDE = 28
SMALL = {"num_classes": K, "img_size": SIDE, "depth": 2, "embed_dim": 24, "num_heads": 2}
NETS: dict[str, Callable[[], nn.Module]] = {
    "test_vit": lambda: timm.create_model("test_vit", num_classes=K, img_size=SIDE, patch_size=14, depth=2),
    "dinov2": lambda: timm.create_model("vit_small_patch14_reg4_dinov2", **SMALL, init_values=0.3),
    "dinov3": lambda: timm.create_model("vit_small_patch16_dinov3", **SMALL, patch_size=14, init_values=0.3),
    "siglip": lambda: timm.create_model("vit_base_patch16_siglip_224", **SMALL, patch_size=14),  # pools by attention
    "beit": lambda: timm.create_model("beit_base_patch16_224", **SMALL, patch_size=14),  # biases by position
    "noisy": lambda: timm.create_model("test_vit", **SMALL, patch_size=14, drop_path_rate=0.3, proj_drop_rate=0.2),
}


def transformer_problem(name: str, *, labelled: int = 5, unlabelled: int = 6) -> Problem:
    torch.manual_seed(0)
    student = NETS[name]().double().train()
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(0.1 * torch.randn_like(weight))  # no weight is zero, no two are alike
    teacher = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, K)).double()
    x_l, x_u = (torch.randn(n, 3, SIDE, SIDE, dtype=torch.float64) for n in (labelled, unlabelled))
    ids = SPARE + torch.arange(unlabelled)
    batch = Batch(x_l=x_l, y_l=torch.arange(labelled) % K, x_uw=x_u, x_us=x_u + 0.3 * torch.randn_like(x_u), id_u=ids)
    return Problem(teacher=teacher, student=student, batch=batch, rate=0.05)


def of_norm(part: torch.Tensor, whole: torch.Tensor) -> float:
    return (part.norm() / whole.norm()).item()


@pytest.mark.parametrize("name", NETS)
def test_gradient_of_the_feedback_loss_is_the_gradient_through_the_students_step(name):
    p = transformer_problem(name)
    noise = get_rng_state(p.batch.x_us.device)
    teacher = list(p.teacher.parameters())
    q = p.teacher(p.batch.x_uw).softmax(-1)
    with sdpa_kernel(SDPBackend.MATH):  # the fast kernel cannot be differentiated twice
        oracle = torch.autograd.grad(unrolled_labelled_loss(p, q, noise=noise), teacher, retain_graph=True)
    matrix = student_step_and_feedback(p, q, noise=noise)
    ours = torch.autograd.grad(-(q * matrix).sum(-1).mean(), teacher)

    for mine, exact in zip(ours, oracle, strict=True):
        torch.testing.assert_close(mine, exact, rtol=0, atol=1e-9)
    assert max(g.abs().max() for g in oracle) > 1e-4, "a vanishing gradient would make this test vacuous"


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_differences_agree_with_exact_at_the_step_that_they_choose(name, dtype):
    p = transformer_problem(name)
    x_l, x_u, y_l = p.batch.x_l, p.batch.x_us, p.batch.y_l
    _, gradient = fb.labelled_gradient(p.student, x_l, y_l, SingleProcess())
    with fb.dropout_off(p.student):
        exact, _ = fb.exact(p.student, p.learners().student.weights(), gradient, x_u, p.rate)
        net = copy.deepcopy(p.student).to(dtype)
        before = {n: w.detach().clone() for n, w in net.named_parameters()}
        loss, gradient = fb.labelled_gradient(net, x_l.to(dtype), y_l, SingleProcess())
        near, _ = fb.difference(net, before, gradient, x_u.to(dtype), p.rate, loss=loss)
    assert of_norm(near - exact, exact) < (2e-3 if dtype == torch.float32 else 1e-7)
    assert exact.abs().max() > 1e-4


@pytest.mark.parametrize("name", ["test_vit", "siglip", "noisy"])
@pytest.mark.parametrize("kind", ["recompute activations", "recompute"])
def test_the_feedback_is_the_same_with_recomputed_activations(name, kind):
    """The patch convolution is cached in the student's pass; recomputed blocks are part of the product."""
    p = transformer_problem(name)
    logits = p.teacher(p.batch.x_uw).detach()
    plain, less = p.learners().student, p.learners().student
    if kind == "recompute":
        recompute(less.net)
    torch.manual_seed(3)
    noise = get_rng_state(logits.device)
    update = student_step(less, logits, p.batch, SingleProcess(), "exact")

    before = {n: w.detach().clone() for n, w in plain.net.named_parameters()}
    with replay_rng(noise, logits.device):
        loss = -(logits.softmax(-1) * plain.net(p.batch.x_us).log_softmax(-1)).sum(-1).mean()
    plain.descend(loss, SingleProcess())
    _, gradient = fb.labelled_gradient(plain.net, p.batch.x_l, p.batch.y_l, SingleProcess())
    with replay_rng(noise, logits.device):
        matrix, _ = fb.exact(plain.net, before, gradient, p.batch.x_us, p.rate)
    torch.testing.assert_close(update.feedback, matrix, rtol=0, atol=1e-12)
    assert matrix.abs().max() > 1e-4


@pytest.mark.parametrize("name", ["test_vit", "siglip", "dinov3", "beit"])
def test_in_half_precision_the_feedback_points_the_same_way(name):
    p = transformer_problem(name)
    net = p.student.float()
    x_l, x_u = p.batch.x_l.float(), p.batch.x_us.float()
    before = {n: w.detach().clone() for n, w in net.named_parameters()}

    def feedback() -> torch.Tensor:
        _, gradient = fb.labelled_gradient(net, x_l, p.batch.y_l, SingleProcess())
        return fb.exact(net, before, gradient, x_u, p.rate)[0]

    exact = feedback()
    with torch.autocast("cpu", torch.bfloat16), recompute_activations(net):
        half = feedback()
    assert half.dtype == torch.float32
    assert of_norm(half - exact, exact) < 0.1


def test_cached_position_biases_are_those_of_the_present_weights():
    """timm's LeViT, EfficientFormer and TinyViT cache them in evaluation mode."""
    p = transformer_problem("test_vit")
    torch.manual_seed(0)
    net = timm.create_model("efficientvit_m0", num_classes=K, img_size=64).double().train()
    x_l = torch.randn(5, 3, 64, 64, dtype=torch.float64)
    learner = Learner(net=net, optimizer=torch.optim.SGD(net.parameters(), 0.1), average=ModelEmaV3(net, decay=0.5))

    def found(net: nn.Module, average: nn.Module) -> list[torch.Tensor]:
        loss, gradient = fb.labelled_gradient(net, x_l, p.batch.y_l, SingleProcess())
        with torch.no_grad(), evaluating(net):
            return [loss, *gradient.values(), net(x_l), average(x_l)]

    found(net, averaged(learner))
    with torch.no_grad():
        for name, weight in net.named_parameters():
            weight.add_(1.0 if "attention_biases" in name else 0.1, alpha=torch.rand(()).item())
    learner.average.update(net)
    now = found(net, averaged(learner))
    fresh = [timm.create_model("efficientvit_m0", num_classes=K, img_size=64).double() for _ in range(2)]
    fresh[0].load_state_dict(net.state_dict())
    fresh[1].load_state_dict(learner.average.module.state_dict())
    for mine, expected in zip(now, found(fresh[0].train(), fresh[1].eval()), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)
