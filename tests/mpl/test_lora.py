"""Low-rank adapters: what is trained, what the feedback of it is, and that nothing is left of them in the end."""

import pytest
import timm
import torch
from timm.utils.model_ema import ModelEmaV3
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradebook.mpl import feedback as fb
from gradebook.mpl.lora import adapt, merged
from gradebook.mpl.step import Learner, SingleProcess
from tests.mpl.test_transformers import NETS, transformer_problem


def adapted(name="test_vit"):
    p = transformer_problem(name)
    torch.manual_seed(1)
    layers = adapt(p.student, 4, trained=p.student.get_classifier())
    p.student.double()
    return p, layers


def moved(net):
    """Gives the adapters something to add: they begin as none."""
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.endswith("up"):
                weight.add_(0.3 * torch.randn_like(weight))


def test_adapters_start_as_the_identity_and_train_with_the_classifier():
    plain = transformer_problem("test_vit").student
    p, layers = adapted()
    assert layers == [f"blocks.{k}.attn.{layer}" for k in range(2) for layer in ("qkv", "proj")]
    assert torch.equal(p.student(p.batch.x_l), plain(p.batch.x_l))
    trained = {name for name, weight in p.student.named_parameters() if weight.requires_grad}
    adapters = {f"{layer}.parametrizations.weight.0.{part}" for layer in layers for part in ("up", "down")}
    assert trained == adapters | {"head.weight", "head.bias"}


def test_a_network_without_attention_is_unchanged():
    net = timm.create_model("test_resnet")
    assert adapt(net, 4) == []
    assert all(weight.requires_grad for weight in net.parameters())


@pytest.mark.parametrize("name", NETS)
def test_merging_changes_no_logit_and_leaves_an_ordinary_model(name):
    p, _ = adapted(name)
    moved(p.student)
    net = p.student.float().eval()
    x = p.batch.x_l.float()
    plain = transformer_problem(name).student.eval().float()
    plain.load_state_dict(merged(net))
    with torch.no_grad():
        torch.testing.assert_close(plain(x), net(x), rtol=0, atol=1e-5)
        assert (net(x) - transformer_problem(name).student.eval().float()(x)).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["test_vit", "siglip", "dinov3"])
def test_the_feedback_of_adapters_agrees_with_brute_force(name):
    """Raise q_ic a little, repeat the step, measure the labelled loss: F_ic = -U dL/dq_ic."""
    p, _ = adapted(name)
    moved(p.student)
    names = {n: w for n, w in p.student.named_parameters() if w.requires_grad}
    before = {n: w.detach().clone() for n, w in p.student.named_parameters()}
    q = p.teacher(p.batch.x_uw).softmax(-1).detach().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        loss = -(q * fb.functional_forward(p.student, {}, p.batch.x_us).log_softmax(-1)).sum(-1).mean()
        slopes = torch.autograd.grad(loss, list(names.values()), create_graph=True)
        after = {n: w - p.rate * g for (n, w), g in zip(names.items(), slopes, strict=True)}
        labelled = torch.nn.functional.cross_entropy(fb.functional_forward(p.student, after, p.batch.x_l), p.batch.y_l)
        (oracle,) = torch.autograd.grad(labelled, q)
    with torch.no_grad():
        for n, w in names.items():
            w.copy_(after[n])
    _, gradient = fb.labelled_gradient(p.student, p.batch.x_l, p.batch.y_l, SingleProcess())
    matrix, _ = fb.exact(p.student, before, gradient, p.batch.x_us, p.rate)
    torch.testing.assert_close(matrix, -len(q) * oracle, rtol=0, atol=1e-10)
    assert matrix.abs().max() > 1e-4


def test_an_average_follows_the_adapters():
    p, _ = adapted()
    learner = Learner(net=p.student, optimizer=torch.optim.SGD(p.student.parameters(), 0.1))
    learner.average = ModelEmaV3(p.student, decay=0.0)
    frozen = p.student.blocks[0].mlp.fc1.weight.clone()
    learner.descend(torch.nn.functional.cross_entropy(p.student(p.batch.x_l), p.batch.y_l), SingleProcess())
    assert torch.equal(p.student.blocks[0].mlp.fc1.weight, frozen)
    with torch.no_grad():
        net, average = p.student.eval(), learner.best_net().eval()
        torch.testing.assert_close(average(p.batch.x_l), net(p.batch.x_l), rtol=0, atol=1e-12)
