"""The student's feedback to its teacher (Meta Pseudo Labels, Pham et al., 2021, https://arxiv.org/abs/2003.10580).

Shape legend    B labelled images    U unlabelled images    K classes
Paper to code   T teacher    S student    q = softmax(T(x_u)) (U, K)    η student's learning rate

One student step on the teacher's soft labels, as plain gradient descent (momentum and weight decay are left out of
the approximation, as in the paper), moves

    θ_S' = θ_S + (η/U) Σ_i Σ_c q_ic ∇ log S_c(x_i; θ_S)

so with g = ∇L_l(θ_S'), the gradient of the labelled loss after the step,

    F_ic = -U ∂L_l(θ_S')/∂q_ic = -η ⟨g, ∇ log S_c(x_i; θ_S)⟩      nats of labelled loss saved

for all i and c at once by one forward-mode product. F > 0 means that labelling image i as class c helped. The paper's
hard-label form, `reinforce`, estimates the same from one number for the whole batch. No function here changes a
parameter permanently: `difference` shifts the weights in place, sharded or not, and restores them bit for bit.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from gradebook.mpl import sharding
from gradebook.mpl.forward_mode import ConvolutionCache, FastForwardMode
from gradebook.mpl.rng_state import get_rng_state, replay_rng
from gradebook.mpl.step import Runtime, at_least_float32, average_over_processes, forget_biases, preserve_mode

Weights = Mapping[str, Tensor]

MAX_SHIFT = 1e-3  # of the weights in `difference`, relative to their norm


def labelled_gradient(net: nn.Module, x_l: Tensor, y_l: Tensor, runtime: Runtime) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns L_l () and g = ∇L_l at the network's weights, both averaged over the processes.

    BatchNorm normalises with this batch, as in training, but its running statistics are not updated: the student's
    statistics come only from unlabelled images. Dropout and stochastic depth are off, since their noise would be larger
    than F. The gradient of sharded weights is sharded like them.
    """
    weights = {name: p.detach().requires_grad_() for name, p in net.named_parameters() if p.requires_grad}
    sharded = sharding.is_sharded(net)
    with torch.enable_grad(), dropout_off(net):
        logits = forward_with_buffers_restored(net, x_l) if sharded else functional_forward(net, weights, x_l)
        loss = nnf.cross_entropy(logits, y_l)
        if sharded:
            shards = sharding.gradient_of(loss, net)
            return runtime.reduce(loss.detach(), "mean"), shards
        gradient = torch.autograd.grad(loss, list(weights.values()))
    loss = loss.detach()
    average_over_processes([loss.view(1), *gradient], runtime)
    return loss, dict(zip(weights, gradient, strict=True))


def exact(
    net: nn.Module,
    before: Weights,
    gradient: Weights,
    x_u: Tensor,
    rate: float,
    convolutions: ConvolutionCache | None = None,
) -> tuple[Tensor, Tensor]:
    """Computes F by one forward-mode product, at about the cost of three forward passes, or two with `convolutions`.

    Args:
        net: the student, in training mode.
        before: θ_S, its weights before the step.
        gradient: g, from `labelled_gradient` after the step.
        x_u: (U, ...) images of the student's step.
        rate: η.
        convolutions: outputs of the student's forward pass, if they were cached.

    Returns:
        F (U, K), in nats, and the student's logits at θ_S (U, K); detached.
    """
    with torch.no_grad(), forward_ad.dual_level(), FastForwardMode(convolutions):
        dual = {n: forward_ad.make_dual(w, gradient[n]) if n in gradient else w for n, w in before.items()}
        logits = functional_forward(net, dual, x_u)
        log_probability = nnf.log_softmax(logits, -1)
        slope = forward_ad.unpack_dual(log_probability).tangent
        assert slope is not None, "no weight that the gradient moves reaches the logits"
        return -rate * slope, forward_ad.unpack_dual(logits).primal


def difference(  # noqa: PLR0913  # the first five are those of `exact`
    net: nn.Module,
    before: Weights,
    gradient: Weights,
    x_u: Tensor,
    rate: float,
    *,
    loss: Tensor | None = None,
    relative_step: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Computes F by a central difference along g: two forward passes and no forward-mode operation.

    For networks without forward-mode automatic differentiation (sharded weights). Arguments and results are those of
    `exact`, except that the logits are the mean of the two sides. Both sides use the same random numbers. The weights
    are shifted in place and restored. Autocast is off, since half precision would round the shift away.

    Args:
        net: see `exact`.
        before: see `exact`.
        gradient: see `exact`.
        x_u: see `exact`.
        rate: see `exact`.
        loss: L_l () from `labelled_gradient`; see `_step_along`. None assumes at least 1 nat.
        relative_step: relative change of L_l along g. None takes ε^(1/3) of the weights' precision, 0.5 % in float32
        and
            0.0006 % in float64, where the rounding error, ε/h, and the truncation error, h², are about equal.
    """
    step = _step_along(gradient, before, loss, relative_step)
    noise = get_rng_state(x_u.device)

    def shifted(steps: float) -> Tensor:
        for name, slope in gradient.items():
            weights[name].add_(steps * step * sharding.local(slope))
        return forward_with_buffers_restored(net, x_u)

    weights = {name: sharding.local(weight) for name, weight in net.named_parameters()}
    with torch.no_grad(), _without_autocast(x_u), _restored(weights.values()):
        for name, weight in weights.items():
            weight.copy_(sharding.local(before[name]))
        ahead = shifted(+1)
        with replay_rng(noise, x_u.device):
            behind = shifted(-2)
        slope = (nnf.log_softmax(ahead, -1) - nnf.log_softmax(behind, -1)) / (2 * step)
        return -rate * slope, (ahead + behind) / 2


def feedback_loss(teacher_logits: Tensor, feedback: Tensor) -> Tensor:
    """Returns L_fb = -(1/U) Σ_i Σ_c q_ic F_ic, whose gradient in θ_T is that of L_l(θ_S').

    Args:
        teacher_logits: (U, K) with their graph, for the view and random numbers that gave the student's pseudo-labels.
        feedback: (U, K) F, detached.

    Returns:
        (), in nats. Its gradient in the logits is -(1/U) q_c (F_c - Σ q F): the softmax supplies the baseline.
    """
    assert not feedback.requires_grad, "F is a constant of the teacher's step"
    return -(teacher_logits.softmax(-1) * feedback).sum(-1).mean()


def normalised(feedback: Tensor, runtime: Runtime) -> Tensor:
    """Returns F (U, K) divided by its root mean square over the batch of all processes; dimensionless."""
    square = runtime.reduce(feedback.square().mean(), "mean")
    return feedback / square.sqrt().clamp_min(torch.finfo(feedback.dtype).tiny)


def reinforce_feedback(before: Tensor, after: Tensor) -> Tensor:
    """Returns h = L_l(θ_S) - L_l(θ_S') () in nats: positive if the batch's pseudo-labels helped (Algorithm 1)."""
    return (before - after).detach()


def reinforce_loss(teacher_logits: Tensor, labels: Tensor, h: Tensor) -> Tensor:
    """Returns h · CE(ŷ, T(x_u)) (), whose descent makes helpful labels more likely (Pham et al., equation 12).

    Args:
        teacher_logits: (U, K) with their graph.
        labels: (U,) ŷ, drawn from q by `sampled_labels`. Soft labels sg(q) here would give a zero gradient, which is
            how the released program ignores its student.
        h: () from `reinforce_feedback`, minus a baseline if there is one.
    """
    return h.detach() * nnf.cross_entropy(teacher_logits, labels)


def sampled_labels(teacher_logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Returns ŷ ~ q, (U,) int64."""
    return torch.multinomial(teacher_logits.detach().float().softmax(-1), 1, generator=generator)[:, 0]


def functional_forward(net: nn.Module, weights: Weights, x: Tensor) -> Tensor:
    """Returns net(x) with other weights; its buffers (BatchNorm's statistics) are unchanged."""
    forget_biases(net)
    try:
        return at_least_float32(functional_call(net, {**weights, **_copied_buffers(net)}, (x,)))
    finally:
        forget_biases(net)


def forward_with_buffers_restored(net: nn.Module, x: Tensor) -> Tensor:
    """Returns net(x) with its own weights, sharded or not; its buffers are unchanged."""
    return functional_forward(net, {}, x)


@contextmanager
def dropout_off(net: nn.Module) -> Iterator[None]:
    """Turns off dropout and stochastic depth, and leaves BatchNorm in training mode."""
    with preserve_mode(net):
        for module in net.modules():
            if not isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training = False
        yield


def _step_along(gradient: Weights, before: Weights, loss: Tensor | None, share: float | None) -> Tensor:
    """Returns the step size h () of a difference, in units of g: it changes L_l by `share` of min(L_l, 1 nat).

    To first order L_l changes by h‖g‖² along g, so h = share · min(L_l, 1)/‖g‖², a fraction of Polyak's step size. It
    adapts to the curvature of the log-probabilities of any network. A fraction of the norm of θ does not: it is far too
    large for ViTs, whose loss depends on few of their weights. Its error in float32, relative to the norm of exact F,
    was up to 0.23; this step's is at most 0.001 (five ViTs, with random to trained weights). With ReLUs, whose kinks
    matter, the errors are 0.03 and 0.01. A fraction of the norm is still the upper bound, for vanishing gradients.
    """
    length = sharding.norm(gradient.values())
    limits = torch.finfo(length.dtype)
    length = length.clamp_min(limits.tiny**0.5)  # the square of a smaller number is zero
    share = limits.eps ** (1 / 3) if share is None else share
    lost = torch.ones_like(length) if loss is None else loss.to(length.dtype).clamp(limits.eps, 1)
    farthest = MAX_SHIFT * sharding.norm(before[name] for name in gradient) / length
    return torch.minimum(share * lost / length / length, farthest)


def _copied_buffers(net: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in net.named_buffers()}


def _without_autocast(x: Tensor) -> AbstractContextManager[None]:
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


@contextmanager
def _restored(weights: Iterable[Tensor]) -> Iterator[None]:
    """Restores the present values of the weights afterwards, bit for bit."""
    original = [(weight, weight.clone()) for weight in weights]
    try:
        yield
    finally:
        for weight, value in original:
            weight.copy_(value)
