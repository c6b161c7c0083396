"""The forward-mode derivative of attention equals that of torch's plain kernel on any input."""

import pytest
import torch
import torch.nn.functional as nnf
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradebook.mpl import forward_attention
from gradebook.mpl.forward_mode import FastForwardMode

N, H, L, M, D = 5, 2, 4, 6, 3
SHAPES = {"query": (N, H, L, D), "key": (N, H, M, D), "value": (N, H, M, D)}


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def sliced(inputs, directions, *contexts, **how):
    """The value, and its change along the directions, of those inputs that have one."""
    with torch.no_grad(), forward_ad.dual_level():
        for context in contexts:
            context.__enter__()
        try:
            given = {n: forward_ad.make_dual(x, directions[n]) if n in directions else x for n, x in inputs.items()}
            return forward_ad.unpack_dual(nnf.scaled_dot_product_attention(**given, **how))
        finally:
            for context in reversed(contexts):
                context.__exit__(None, None, None)


def assert_the_same(inputs, directions, **how):
    value, change = sliced(inputs, directions, sdpa_kernel(SDPBackend.MATH), **how)
    quick_value, quick_change = sliced(inputs, directions, FastForwardMode(), **how)
    torch.testing.assert_close(quick_value, value, rtol=0, atol=1e-12)
    torch.testing.assert_close(quick_change, change, rtol=0, atol=1e-12)
    assert change.abs().max() > 0.1


@pytest.fixture(params=[False, True], ids=["at once", "in parts"])
def parts(request, monkeypatch):
    if request.param:
        monkeypatch.setitem(
            forward_attention.MAX_ELEMENTS, "cpu", 2 * H * L * M
        )  # two images at a time, and one is left


MASKS = {
    "none": None,
    "where to look": lambda: torch.rand(L, M) > 0.3,
    "a bias": lambda: drawn(1, H, L, M),
    "a bias of each image": lambda: drawn(N, 1, 1, M),
    "a bias of all heads": lambda: drawn(L, M),
}


@pytest.mark.parametrize("moving", ["query", "value", "query key value", "query key value attn_mask"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("scale", [None, 0.7])
def test_attention_has_the_plain_kernels_derivative(parts, moving, mask, scale):
    torch.manual_seed(0)
    inputs = {name: drawn(*shape) for name, shape in SHAPES.items()}
    if MASKS[mask] is not None:
        inputs["attn_mask"] = MASKS[mask]()
    moves = [name for name in moving.split() if name in inputs and inputs[name].is_floating_point()]
    assert_the_same(inputs, {name: drawn(*inputs[name].shape) for name in moves}, scale=scale)


def test_the_bias_alone_may_have_a_tangent():
    """As where only the relative positions are trained."""
    torch.manual_seed(0)
    inputs = {name: drawn(*shape) for name, shape in SHAPES.items()} | {"attn_mask": drawn(H, L, M)}
    assert_the_same(inputs, {"attn_mask": drawn(H, L, M)})


def test_windows_and_values_of_another_width_are_supported():
    torch.manual_seed(0)
    inputs = {"query": drawn(2, N, H, L, D), "key": drawn(2, N, H, M, D), "value": drawn(2, N, H, M, 2 * D)}
    assert_the_same(inputs, {name: torch.randn_like(x) for name, x in inputs.items()})


@pytest.mark.parametrize(
    ("how", "heads"),
    [({"is_causal": True}, H), ({"enable_gqa": True}, 2 * H), ({}, 1)],
    ids=["causal", "gqa", "shared"],
)
def test_other_attention_equals_the_plain_kernels(how, heads):
    torch.manual_seed(0)
    inputs = {"query": drawn(N, heads, L, D), "key": drawn(N, H, L, D), "value": drawn(N, H, L, D)}
    assert_the_same(inputs, {name: torch.randn_like(x) for name, x in inputs.items()}, **how)


def test_dropout_draws_the_noise_of_the_plain_kernel():
    torch.manual_seed(0)
    inputs = {name: drawn(*shape) for name, shape in SHAPES.items()}
    directions = {name: torch.randn_like(x) for name, x in inputs.items()}
    torch.manual_seed(1)
    value, change = sliced(inputs, directions, sdpa_kernel(SDPBackend.MATH), dropout_p=0.3)
    torch.manual_seed(1)
    quick_value, quick_change = sliced(inputs, directions, FastForwardMode(), dropout_p=0.3)
    assert torch.equal(quick_value, value)
    assert torch.equal(quick_change, change)


def test_attention_without_a_tangent_uses_the_fast_kernel():
    torch.manual_seed(0)
    inputs = {name: drawn(*shape) for name, shape in SHAPES.items()}
    value, change = sliced(inputs, {}, FastForwardMode())
    assert change is None
    assert torch.equal(value, nnf.scaled_dot_product_attention(**inputs))


def test_in_half_precision_value_and_tangent_are_half():
    torch.manual_seed(0)
    inputs = {name: drawn(*shape).float() for name, shape in SHAPES.items()}
    directions = {name: torch.randn_like(x) for name, x in inputs.items()}
    value, change = sliced(inputs, directions, sdpa_kernel(SDPBackend.MATH))
    half = sliced(inputs, directions, FastForwardMode(), torch.autocast("cpu", torch.bfloat16))
    for mine, exact in zip(half, (value, change), strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine.float() - exact).norm() < 0.02 * exact.norm()
