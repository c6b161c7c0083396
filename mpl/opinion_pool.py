"""A logarithmic opinion pool with exponents learned from held-out labels, class shares by EM, and one temperature.

Shape legend    m members    N samples    n labelled    K classes
"""

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]

EXPONENT_SUM = 1.6  # prior sum of the exponents; above 1, because members that agree make the pool more confident
EXPONENT_HOLD = 5.0  # nats for changing an exponent by 1, so that a few labels do not give one member all the weight
MIN_PROBABILITY = 1e-3  # of a member, so that no member can veto a class
SHARE_PRIOR = 0.3  # weight of the labels' class shares, relative to the samples
TEMPERATURE = 1.6  # prior mode: Gaussians with a shared covariance are overconfident by about this factor
TEMPERATURE_SPREAD = 0.1  # width of the prior on its logarithm; fifty labels tell little about it
EM_STEPS = 50
BALANCED_WITHIN = 0.15  # total variation between estimated and labels' shares from which opinions are not aligned
ALIGNMENT_ROUNDS = 5
EPS = 1e-9


def softmax(logits: NDArray[np.floating]) -> Doubles:
    """Returns the distributions of logits (..., K)."""
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(odds / odds.sum(-1, keepdims=True), np.float64)


def pooled(opinions: NDArray[np.floating], exponents: Doubles) -> Doubles:
    """Returns Π_m p_m^w_m, normalised: (N, K), of opinions (m, N, K) (Genest and Zidek, 1986)."""
    return softmax(np.tensordot(exponents, np.log(np.maximum(opinions, MIN_PROBABILITY)), 1))


def pool_exponents(held_out: NDArray[np.floating], y: Indices) -> Doubles:
    """Returns the exponents w ≥ 0 (m,) of the pool with the highest penalised likelihood of held-out labels.

    They minimise the negative log-likelihood + EXPONENT_HOLD |w - w₀|², where each w₀ = EXPONENT_SUM / m.

    Args:
        held_out: (m, n, K) each member's opinions of the labelled samples, learned without their labels.
        y: (n,) the labels.
    """
    from scipy.optimize import minimize

    logs = np.log(np.maximum(held_out, MIN_PROBABILITY))
    start = np.full(len(logs), EXPONENT_SUM / len(logs))
    rows = np.arange(len(y))

    def objective(w: Doubles) -> tuple[float, Doubles]:
        p = softmax(np.tensordot(w, logs, 1))
        loss = -np.log(p[rows, y]).sum() + EXPONENT_HOLD * np.square(w - start).sum()
        slope = -(logs[:, rows, y] - (logs * p).sum(2)).sum(1) + 2 * EXPONENT_HOLD * (w - start)
        return float(loss), slope

    best = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start))
    return np.asarray(best.x, np.float64)


def class_shares(opinions: Doubles, labelled_shares: Doubles) -> Doubles:
    """Returns the estimated class shares (K,) of samples from opinions (N, K), learned at the labels' class shares.


    Expectation-maximisation (Saerens et al., 2002, https://doi.org/10.1162/089976602753284446), with a Dirichlet prior
    around the labels' shares that weighs SHARE_PRIOR N samples.
    """
    n, shares = len(opinions), labelled_shares
    for _ in range(EM_STEPS if n else 0):
        posterior = opinions * (shares / np.maximum(labelled_shares, EPS))
        posterior /= posterior.sum(1, keepdims=True)
        shares = (posterior.sum(0) + SHARE_PRIOR * n * labelled_shares) / (n * (1 + SHARE_PRIOR))
    return shares


def aligned(opinions: Doubles, unlabelled: NDArray[np.bool_], labelled_shares: Doubles, shares: Doubles) -> Doubles:
    """Returns opinions (N, K) whose mean is near the class shares (Berthelot et al., 2020: distribution alignment).

    The less the estimated shares agree with the labels', the less the opinions are changed: for unbalanced samples the
    estimate is too poor, and alignment costs more than it gains.

    Args:
        opinions: (N, K).
        unlabelled: (N,) the samples whose mean is aligned.
        labelled_shares: (K,).
        shares: (K,) from `class_shares`.
    """
    power = max(0.0, 1 - float(np.abs(shares - labelled_shares).sum()) / 2 / BALANCED_WITHIN)
    if power == 0 or not unlabelled.any():
        return opinions
    target = np.sqrt(labelled_shares * shares)
    target = target / target.sum()
    for _ in range(ALIGNMENT_ROUNDS):
        opinions = opinions * (target / np.maximum(opinions[unlabelled].mean(0), EPS)) ** power
        opinions = opinions / opinions.sum(1, keepdims=True)
    return opinions


def fitted_temperature(logits: Doubles, y: Indices, weights: Doubles) -> float:
    """Returns the temperature to divide logits by (Guo et al., 2017, https://arxiv.org/abs/1706.04599).

    It minimises the Brier score, with a prior. The likelihood would let a few labels that are confidently wrong decide:
    Gaussians that are fitted without a fold's labels can be wrong without bound.

    Args:
        logits: (n, K) held-out, that is learned without the labels of their rows.
        y: (n,) the labels.
        weights: (n,) weight of each label, such as the ratio of its class's shares among the samples and the labels.
    """
    from scipy.optimize import minimize_scalar

    weights = weights / weights.mean()
    truth = np.eye(logits.shape[1])[y]

    def prior(log_temperature: float) -> float:
        return float(((log_temperature - np.log(TEMPERATURE)) / TEMPERATURE_SPREAD) ** 2 / 2)

    def loss(log_temperature: float) -> float:
        errors = softmax(logits / np.exp(log_temperature)) - truth
        return float((weights * np.square(errors).sum(1)).sum() + prior(log_temperature))

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x))
