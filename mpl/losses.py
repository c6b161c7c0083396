"""Losses of semi-supervised learning, as pure functions of logits.

Shape legend    B labelled images    U unlabelled images    K classes    q a distribution over K

Targets are constants here; for the feedback loss, where they have a gradient, see `gradebook.mpl.feedback`.
"""

import torch
import torch.nn.functional as nnf
from torch import Tensor


def supervised(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Returns the cross-entropy of labels (B,) under logits (B, K), as a mean () in nats."""
    return nnf.cross_entropy(logits, labels, label_smoothing=smoothing)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Returns -Σ_c q_c log softmax(logits)_c for each row, (U,) in nats; `target` (U, K) is a constant."""
    return -(target.detach() * nnf.log_softmax(logits, -1)).sum(-1)


def one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """Returns classes (U,) as one-hot (U, K), typed like `like` (..., K). Unlike torch's, it does not synchronise."""
    return (labels[:, None] == torch.arange(like.shape[-1], device=like.device)).to(like.dtype)


def softmax_with_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Returns softmax(logits / temperature) (U, K), detached; a temperature below 1 sharpens."""
    return (logits.detach() / temperature).softmax(-1)


def confident(logits: Tensor, threshold: float) -> Tensor:
    """Returns 1 where the largest probability is at least `threshold`, else 0: (U,), detached."""
    likeliest = logits.detach().softmax(-1).amax(-1)
    return (likeliest >= threshold).to(logits.dtype)


def masked_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Returns the cross-entropy of pseudo-labels (U,) times mask or weights (U,), as a mean () over all U, in nats."""
    return (nnf.cross_entropy(logits, labels, reduction="none") * weight.detach()).mean()


def squared(logits: Tensor, target: Tensor) -> Tensor:
    """Returns the mean over K of (softmax(logits) - q)² for each row, (U,); `target` (U, K) is a constant."""
    return (logits.softmax(-1) - target.detach()).square().mean(-1)


def divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Returns KL(softmax(target) ‖ softmax(logits)) for each row, (U,) in nats; `target` (U, K) is a constant."""
    log_target = nnf.log_softmax(target.detach(), -1)
    return (log_target.exp() * (log_target - nnf.log_softmax(logits, -1))).sum(-1)


def rescaled(weights: Tensor) -> Tensor:
    """Returns non-negative weights (..., K) as distributions."""
    return weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def sharpen(q: Tensor, temperature: float) -> Tensor:
    """Returns q^(1/temperature), normalised and detached, (U, K): `softmax_with_temperature` for distributions."""
    return rescaled(q.detach().pow(1 / temperature))


def as_logits(q: Tensor) -> Tensor:
    """Returns log q (U, K), whose softmax is q."""
    return q.clamp_min(torch.finfo(q.dtype).tiny).log()


def uda(strong: Tensor, weak: Tensor, *, temperature: float, threshold: float) -> tuple[Tensor, Tensor]:
    """Computes the consistency loss of UDA (Xie et al., 2020, https://arxiv.org/abs/1904.12848, section 2.2).

    The target of the strong view is the weak view's sharpened distribution, where the weak view is confident. Other
    images count as zero in the mean over all U, as in the released code.

    Args:
        strong: (U, K) logits of the strong views, with their graph.
        weak: (U, K) logits of the weak views; constants.
        temperature: of the sharpening; below 1.
        threshold: for the largest probability before sharpening.

    Returns:
        () in nats, and the share of confident images ().
    """
    mask = confident(weak, threshold)
    return (soft_cross_entropy(strong, softmax_with_temperature(weak, temperature)) * mask).mean(), mask.mean()


def entropy(logits: Tensor) -> Tensor:
    """Returns the entropy of each row's distribution, (U,) in nats."""
    log_probability = nnf.log_softmax(logits, -1)
    return -(log_probability.exp() * log_probability).sum(-1)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the share of rows whose likeliest class is the label: (), detached."""
    return (logits.detach().argmax(-1) == labels).to(torch.float32).mean()
