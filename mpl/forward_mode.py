"""Fast forward-mode derivatives of BatchNorm, convolutions and attention.

torch composes the forward derivative of BatchNorm in training mode from a dozen elementwise operations, which cost more
than the convolutions around them: 21 ms per image, while the forward pass takes 2.5 ms (WRN-28-2, one core). But the
Jacobian of batch normalisation is symmetric, so its derivative along dx is its backward pass applied to dx:

    y = γ x̂ + β,    x̂ = (x - μ) / σ        dy = (γ/σ) (dx - mean dx - x̂ mean(x̂ dx)) + dγ x̂ + dβ

which is one call of the backward kernel and one multiplication. With running statistics the derivative is a scaling in
the precision of the images; torch's own has the precision of the weights, which convolutions then reject. torch's fast
attention kernels have no forward derivative; `gradebook.mpl.forward_attention` provides one.

If the same forward pass has been computed before, `ConvolutionCache` has the outputs of its convolutions, and only
their derivative, dw ∗ x + w ∗ dx, is computed.

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
    """The outputs of the convolutions of a forward pass, in order. `FastForwardMode` removes them one by one."""

    def __init__(self) -> None:
        self._outputs: deque[tuple[Tensor, int]] = deque()

    def __len__(self) -> int:
        return len(self._outputs)

    def add(self, out: Tensor) -> Tensor:
        """Stores the output of a convolution; returns it without its graph."""
        self._outputs.append((out.detach(), out._version))
        return self._outputs[-1][0]

    def pop(self) -> Tensor | None:
        """Removes and returns the first output, or None if it has been changed in place."""
        out, version = self._outputs.popleft()
        return out if out._version == version else None


class FastForwardMode(TorchFunctionMode):
    """While active, norms, convolutions and attention have the forward-mode derivatives above."""

    def __init__(self, convolutions: ConvolutionCache | None = None):
        """Uses the convolutions of an earlier pass with the same inputs and weights, if given."""
        super().__init__()
        self._convolutions = convolutions or None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Calls the function, or its replacement with a faster derivative."""
        if func is nnf.batch_norm:
            func = _batch_norm
        elif func is nnf.scaled_dot_product_attention:
            func = attention
        elif func is torch.conv2d and self._convolutions is not None:
            output = self._convolutions.pop()
            if output is not None:
                func = partial(_conv2d, output)
        return func(*args, **(kwargs or {}))


def _conv2d(output: Tensor, input: Tensor, weight: Tensor, bias: Optional = None, *how: Any, **more: Any) -> Tensor:  # noqa: A002
    """Returns the same as `torch.conv2d`, which is `output`."""

    def product(x: Tensor, w: Tensor) -> Tensor:
        return torch.conv2d(x, w, None, *how, **more)

    out: Tensor = _Convolved.apply(input, weight, bias, product, _Box(output))
    return out


@dataclass(frozen=True, slots=True)
class _Box:
    """Hides a tensor from autograd, since a function must not return one of its inputs."""

    tensor: Tensor


class _Convolved(Function):
    """A convolution with a cached output, and its forward derivative."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Optional, convolved: Product, output: _Box) -> Tensor:
        """Returns the cached output."""
        return output.tensor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Saves what the derivative needs."""
        x, weight, _, ctx.convolved, known = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_forward(x, weight, known.tensor)

    @staticmethod
    def jvp(ctx: Any, dx: Optional, dweight: Optional, dbias: Optional, *_: Any) -> Tensor:
        """Returns dw ∗ x + w ∗ dx + db."""
        x, weight, output = ctx.saved_tensors
        dy = torch.zeros_like(output) if dx is None else ctx.convolved(dx, weight)
        if dweight is not None:
            dy.add_(ctx.convolved(x, dweight))
        return dy if dbias is None else dy.add_(dbias.view(-1, 1, 1))


def _batch_norm(  # noqa: PLR0913  # the arguments of torch's function
    input: Tensor,  # noqa: A002  # torch's name
    running_mean: Optional,
    running_var: Optional,
    weight: Optional = None,
    bias: Optional = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Returns the same as `torch.nn.functional.batch_norm`."""
    normal: Tensor = _Normalised.apply(input, weight, bias, running_mean, running_var, training, momentum, eps)[0]
    return normal


class _Normalised(Function):
    """BatchNorm with batch or running statistics, with its forward derivative."""

    @staticmethod
    def forward(  # noqa: PLR0913  # the arguments of torch's function
        x: Tensor,
        weight: Optional,
        bias: Optional,
        mean: Optional,
        var: Optional,
        training: bool,
        momentum: float,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns y, and μ (C,) and 1/σ (C,) of the batch."""
        y, of_batch, inverse = torch.native_batch_norm(x, weight, bias, mean, var, training, momentum, eps)
        return y, of_batch, inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Saves what the derivative needs."""
        x, weight, _, mean, var, ctx.training, _, ctx.eps = inputs
        ctx.set_materialize_grads(False)
        used = output[1:] if ctx.training else (mean, (var + ctx.eps).rsqrt())
        ctx.save_for_forward(x, weight, mean, var, *used)
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def jvp(ctx: Any, dx: Optional, dweight: Optional, dbias: Optional, *_: Any) -> tuple[Tensor, None, None]:
        """Returns dy; the statistics have no derivative of their own."""
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
