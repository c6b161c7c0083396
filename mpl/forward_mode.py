"""Forward-mode differentiation at the speed of the passes that it is made of.

torch puts the derivative of a BatchNorm in training mode together from a dozen elementwise operations, which cost more
than the convolutions around them: 21 ms an image where the pass itself takes 2.5 (WRN-28-2, one core). But normalising
a batch is its own adjoint: along dx it changes as its backward pass would answer dx,

    y = γ x̂ + β,    x̂ = (x - μ) / σ        dy = (γ/σ) (dx - mean dx - x̂ mean(x̂ dx)) + dγ x̂ + dβ

so that one call of the backward kernel and one multiplication give it. With kept statistics it changes as it scales,
and in the precision of its images: torch's own derivative is of the weights' precision, which no convolution takes.
Attention is torch's fast kernel in ordinary passes, for which there is no derivative: `mpl.forward_attention` has it.

A convolution's own result is not needed anew where the same pass was made before: `ConvolutionCache` keeps what they
returned then, and what is left of them here is their change, dw ∗ x + w ∗ dx.

Shape legend    C channels
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

from gradebook.mpl.forward_attention import attention

Optional = Tensor | None
Product = Callable[[Tensor, Tensor], Tensor]


class ConvolutionCache:
    """The outputs of a pass's convolutions, in order; `FastForwardMode` takes and releases them one by one."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Tensor, int]] = deque()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, out: Tensor) -> Tensor:
        """Keeps what a convolution returned; returns it without its graph."""
        self._kept.append((out.detach(), out._version))
        return self._kept[-1][0]

    def pop(self) -> Tensor | None:
        """Returns what the first one that is left returned, None if it was changed in place since."""
        out, version = self._kept.popleft()
        return out if out._version == version else None


class FastForwardMode(TorchFunctionMode):
    """While it is entered, norms, convolutions and attention have the derivatives above. For forward mode alone."""

    def __init__(self, convolutions: ConvolutionCache | None = None):
        """Takes the convolutions of the same pass at the same weights, if it has been made and they were kept."""
        super().__init__()
        self._convolutions = convolutions or None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Puts our derivatives in the place of torch's, and leaves everything else."""
        if func is nnf.batch_norm:
            func = _batch_norm
        elif func is nnf.scaled_dot_product_attention:
            func = attention
        elif func is torch.conv2d and self._convolutions is not None:
            kept = self._convolutions.pop()
            if kept is not None:
                func = partial(_conv2d, kept)
        return func(*args, **(kwargs or {}))


def _conv2d(kept: Tensor, input: Tensor, weight: Tensor, bias: Optional = None, *how: Any, **more: Any) -> Tensor:  # noqa: A002
    """Returns what `torch.conv2d` does, which is `kept`."""
    out: Tensor = _Convolved.apply(input, weight, bias, lambda x, w: torch.conv2d(x, w, None, *how, **more), _Box(kept))
    return out


@dataclass(frozen=True, slots=True)
class _Box:
    """Hides a tensor from autograd, for which a function that returns what it took is none."""

    tensor: Tensor


class _Convolved(Function):
    """A convolution whose result is known, and its derivative along a direction."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Optional, convolved: Product, kept: _Box) -> Tensor:
        """Returns it."""
        return kept.tensor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keeps what the derivative needs."""
        x, weight, _, ctx.convolved, kept = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_forward(x, weight, kept.tensor)

    @staticmethod
    def jvp(ctx: Any, dx: Optional, dweight: Optional, dbias: Optional, *_: Any) -> Tensor:
        """Returns dw ∗ x + w ∗ dx + db."""
        x, weight, kept = ctx.saved_tensors
        dy = torch.zeros_like(kept) if dx is None else ctx.convolved(dx, weight)
        if dweight is not None:
            dy.add_(ctx.convolved(x, dweight))
        return dy if dbias is None else dy.add_(dbias.view(-1, 1, 1))


def _batch_norm(
    input: Tensor,  # noqa: A002  # torch's name
    running_mean: Optional,
    running_var: Optional,
    weight: Optional = None,
    bias: Optional = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Returns what `torch.nn.functional.batch_norm` does."""
    normal: Tensor = _Normalised.apply(input, weight, bias, running_mean, running_var, training, momentum, eps)[0]
    return normal


class _Normalised(Function):
    """BatchNorm with this batch's statistics or kept ones, and its derivative along a direction."""

    @staticmethod
    def forward(
        x: Tensor,
        weight: Optional,
        bias: Optional,
        mean: Optional,
        var: Optional,
        training: bool,
        momentum: float,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns y, and of this batch μ (C,) and 1/σ (C,)."""
        y, of_batch, inverse = torch.native_batch_norm(x, weight, bias, mean, var, training, momentum, eps)
        return y, of_batch, inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Keeps what the derivative needs."""
        x, weight, _, mean, var, ctx.training, _, ctx.eps = inputs
        ctx.set_materialize_grads(False)
        used = output[1:] if ctx.training else (mean, (var + ctx.eps).rsqrt())
        ctx.save_for_forward(x, weight, mean, var, *used)
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def jvp(ctx: Any, dx: Optional, dweight: Optional, dbias: Optional, *_: Any) -> tuple[Tensor, None, None]:
        """Returns dy, where the statistics have none of their own."""
        x, weight, running_mean, running_var, mean, inverse = ctx.saved_tensors
        if dx is None:
            dy = torch.zeros_like(x)
        else:
            dy = torch.ops.aten.native_batch_norm_backward(
                dx, x, weight, running_mean, running_var, mean, inverse, ctx.training, ctx.eps, [True, False, False]
            )[0]
        slope = torch.zeros_like(inverse) if dweight is None else dweight * inverse
        offset = (0 if dbias is None else dbias) - slope * mean
        slope, offset = (t.to(x.dtype).view(-1, *[1] * (x.dim() - 2)) for t in (slope, offset))
        return dy.addcmul_(x, slope).add_(offset), None, None
