"""A linear classifier of frozen features from few labels and many unlabelled samples.

1. Members give an opinion of every sample, that is a distribution over classes: multinomial logistic regression and
   label diffusion, each in the standardised and in the noise-whitened space (`gradebook.mpl.feature_spaces`), and any
   other members that are passed in.
2. Their held-out opinions of the labelled samples choose the exponents of a logarithmic opinion pool.
3. Expectation-maximisation estimates the class shares of the unlabelled samples. They correct the pooled opinions. If
   they agree with the labels' shares, the opinions are also aligned to them.
4. A Gaussian for each class with a shared covariance is fitted to the pooled opinions. It is linear in the features, so
   it is an ordinary linear classifier, and it averages over thousands of opinions, so errors cancel out.
5. One temperature is fitted to held-out logits.

docs/results.md compares it with its members and other baselines.

Shape legend    N samples    D features    d principal components    K classes    n labelled    m members    V views
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray

from gradebook.mpl.feature_spaces import AugmentedViews, FeatureSpaces, feature_spaces
from gradebook.mpl.gaussian_classifier import linear_discriminant
from gradebook.mpl.label_diffusion import diffused_probabilities, influence, neighbour_graph
from gradebook.mpl.metrics import calibration_error
from gradebook.mpl.opinion_pool import (
    Doubles,
    Indices,
    aligned,
    class_shares,
    fitted_temperature,
    pool_exponents,
    pooled,
    softmax,
)

Floats = NDArray[np.float32]
Masks = NDArray[np.bool_]
# (in_training (F, n), classes of the labelled (n,), K) -> opinions (F, N, K), row f learned from in_training[f]
Member = Callable[[Masks, Indices, int], NDArray[np.floating]]

FOLDS = 5
STANDARDISED_SCALE, WHITENED_SCALE = 35.0, 20.0  # root mean square length of logistic regression's inputs, at C = 1
SHARE_POWER = 0.5  # exponent of the correction by class shares; 1 would be the full correction
SHARPEN = 2.0  # exponent of the pooled opinions to which the Gaussians are fitted
FIXED_SHARE = 0.2  # of the exponents, for members without cross-validation, which gives a student 0.23 on average
LABEL_WEIGHT = 10.0  # of a label, relative to an opinion
FITS = 3  # the second and third are to the mean of the pooled opinions and the Gaussians' own
EPS = 1e-9


@dataclass(frozen=True, slots=True)
class PooledClassifier:
    """A linear classifier: softmax(features @ weight.T + bias)."""

    weight: Floats  # (K, D)
    bias: Floats  # (K,)
    probabilities: Floats  # (N, K) of the samples that it was fitted to
    members: tuple[str, ...]  # names
    exponents: tuple[float, ...]  # of the members in the pool
    held_out_accuracy: tuple[float, ...]  # of each cross-validated member and, last, of the classifier
    class_shares: tuple[float, ...]  # (K,) estimated, of the unlabelled samples
    temperature: float
    held_out_ece: tuple[float, float]  # expected calibration error of the held-out predictions, before and after it
    held_out_classes: Indices  # (n,) predicted for each labelled sample by a classifier fitted without it


def fit_pooled_classifier(
    features: NDArray[np.floating],
    labels: Indices,
    classes: int,
    *,
    views: AugmentedViews | None = None,
    members: Mapping[str, Member] = MappingProxyType({}),
    seed: int = 0,
) -> PooledClassifier:
    """Fits the classifier.

    Args:
        features: (N, D) of the images without augmentation.
        labels: (N,) class, -1 for none; at least two classes have one.
        classes: K.
        views: see `AugmentedViews`; without them no member uses the whitened space.
        members: more members of the pool by name. Each is called for all folds at once, and then with all labels.
        seed: of the folds.
    """
    labelled = np.flatnonzero(labels >= 0)
    spaces = feature_spaces(features, labelled, views)
    diffusions = [diffusion_member(influence(neighbour_graph(x), labelled)) for x in diffusion_spaces(spaces)]
    members = own_members(spaces, labelled, spaces.labelled_views, diffusions) | dict(members)
    return fit_pool(spaces, labelled, labels[labelled], classes, members, seed=seed)


def fit_pool(  # noqa: PLR0913  # the labelled samples are three of them
    spaces: FeatureSpaces,
    labelled: Indices,
    y: Indices,
    classes: int,
    members: Mapping[str, Member],
    *,
    fixed: Mapping[str, Floats] = MappingProxyType({}),
    seed: int = 0,
) -> PooledClassifier:
    """Fits the classifier to its members' opinions.

    Args:
        spaces: of the N samples.
        labelled: (n,) rows with a label.
        y: (n,) their classes.
        classes: K.
        members: by name; cross-validated.
        fixed: opinions (N, K) of further members, learned from all labels. They are not cross-validated: together they
            have `FIXED_SHARE` of the exponents, and neither accuracy nor temperature takes them into account.
        seed: of the folds.
    """
    folds = _folds(y, min(FOLDS, len(y)), seed)
    in_training = folds != np.arange(folds.max() + 1)[:, None]  # (F, n)
    without = np.stack([member(in_training, y, classes) for member in members.values()], axis=1)  # (F, m, N, K)
    held_out = without[folds, :, labelled].swapaxes(0, 1)  # (m, n, K)
    exponents = pool_exponents(held_out, y)
    all_labels = np.ones((1, len(y)), bool)
    opinions = np.stack([member(all_labels, y, classes)[0] for member in members.values()])
    opinions, all_exponents = _with_fixed(opinions, exponents, fixed)
    slopes, offsets, shares = _fit(spaces.plain, pooled(opinions, all_exponents), labelled, y)
    logits = _held_out_logits(spaces.plain, [pooled(others, exponents) for others in without], folds, labelled, y)
    temperature = fitted_temperature(logits, y, (shares / np.maximum(_shares(y, classes), EPS))[y])
    slopes, offsets = slopes / temperature, offsets / temperature
    weight = (spaces.basis @ slopes).T
    accuracies = [float((p.argmax(1) == y).mean()) for p in (*held_out, logits)]
    return PooledClassifier(
        weight=weight.astype(np.float32),
        bias=(offsets - weight @ spaces.mean).astype(np.float32),
        probabilities=softmax(spaces.plain @ slopes + offsets).astype(np.float32),
        members=(*members, *fixed),
        exponents=tuple(float(w) for w in all_exponents),
        held_out_accuracy=tuple(accuracies),
        class_shares=tuple(float(share) for share in shares),
        temperature=temperature,
        held_out_ece=(calibration_error(softmax(logits), y), calibration_error(softmax(logits / temperature), y)),
        held_out_classes=logits.argmax(1),
    )


def diffusion_spaces(spaces: FeatureSpaces) -> list[Floats]:
    """Returns the spaces in which labels diffuse, the standardised one first: (N, d) each."""
    return [spaces.standardised] if spaces.whitened is None else [spaces.standardised, spaces.whitened]


def own_members(
    spaces: FeatureSpaces,
    labelled: Indices,
    labelled_views: Floats | None,
    diffusions: Sequence[Member],
    *,
    warm: bool = False,
) -> dict[str, Member]:
    """Returns the pool's own members: logistic regression and label diffusion in each space.

    Args:
        spaces: of the N samples.
        labelled: (n,) rows with a label.
        labelled_views: (n, V, d) their augmented views in the whitened space; None without views.
        diffusions: label diffusion in each of `diffusion_spaces`.
        warm: start the logistic regression of each fold from that of the fold before, which takes half the time.
    """
    members = {
        "logistic, standardised": _logistic_member(spaces.standardised, labelled, STANDARDISED_SCALE, warm=warm),
        "diffusion, standardised": diffusions[0],
    }
    if spaces.whitened is not None:
        members["logistic, whitened"] = _logistic_member(
            spaces.whitened, labelled, WHITENED_SCALE, labelled_views, warm=warm
        )
        members["diffusion, whitened"] = diffusions[1]
    return members


def _with_fixed(
    opinions: NDArray[np.floating], exponents: Doubles, fixed: Mapping[str, Floats]
) -> tuple[NDArray[np.floating], Doubles]:
    """Returns the opinions (m, N, K) and exponents (m,) with those of the fixed members; the sum of exponents stays."""
    if not fixed:
        return opinions, exponents
    each = np.full(len(fixed), FIXED_SHARE * exponents.sum() / len(fixed))
    return np.concatenate([opinions, np.stack(list(fixed.values()))]), np.append(exponents * (1 - FIXED_SHARE), each)


def _logistic_member(
    x: Floats, labelled: Indices, scale: float, views: Floats | None = None, *, warm: bool = False
) -> Member:
    last: list[Floats] = []  # weights and bias of the fold before

    def opinions(in_training: Masks, y: Indices, classes: int) -> NDArray[np.floating]:
        inputs, targets = x[labelled[in_training]], y[in_training]
        if views is not None:
            inputs = np.concatenate([inputs, *views[in_training].swapaxes(0, 1)])
            targets = np.tile(targets, views.shape[1] + 1)
        weights, bias = logistic_regression(inputs * scale, targets, classes, start=last if warm else ())
        last[:] = weights, bias
        return softmax(x @ (weights * scale) + bias)

    return _of_each_fold(opinions)


def diffusion_member(reached: Floats) -> Member:
    """Returns label diffusion as a member of the pool; `reached` (N, n) is how much of each label reaches a sample."""

    def opinions(in_training: Masks, y: Indices, classes: int) -> NDArray[np.floating]:
        return diffused_probabilities(reached[:, in_training], y[in_training], classes)

    return _of_each_fold(opinions)


def _of_each_fold(opinions: Callable[[Masks, Indices, int], NDArray[np.floating]]) -> Member:
    """Returns a member that calls a function from one mask (n,) to opinions (N, K) for each fold."""
    return lambda in_training, y, classes: np.stack([opinions(mask, y, classes) for mask in in_training])


def logistic_regression(
    x: Floats, y: Indices, classes: int, *, c: float = 1.0, start: Sequence[Floats] = ()
) -> tuple[Floats, Floats]:
    """Returns weights (d, K) and bias (K,) of multinomial logistic regression, as scikit-learn with the same C.

    Unlike scikit-learn's, it also has weights for classes without a label, which can happen in a fold.

    Args:
        x: (n, d).
        y: (n,) class.
        classes: K.
        c: inverse strength of the penalty |W|² / (2 c).
        start: weights and bias to start from; zero without them.
    """
    inputs, targets = torch.from_numpy(np.ascontiguousarray(x, np.float32)), torch.from_numpy(y)
    zero = torch.zeros(x.shape[1], classes), torch.zeros(classes)
    weights, bias = (w.clone().requires_grad_() for w in (map(torch.from_numpy, start) if start else zero))
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=100, tolerance_grad=1e-4, tolerance_change=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = c * nnf.cross_entropy(inputs @ weights + bias, targets, reduction="sum") + weights.square().sum() / 2
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return weights.detach().numpy(), bias.detach().numpy()


def _fit(x: Floats, opinions: Doubles, labelled: Indices, y: Indices) -> tuple[Doubles, Doubles, Doubles]:
    """Fits Gaussians to pooled opinions (N, K); returns slopes (d, K), offsets (K,) and the class shares (K,)."""
    classes = opinions.shape[1]
    label_shares = _shares(y, classes)
    unlabelled = np.ones(len(x), bool)
    unlabelled[labelled] = False
    shares = class_shares(opinions[unlabelled], label_shares)
    opinions = opinions * (shares / np.maximum(label_shares, EPS)) ** SHARE_POWER
    opinions = (opinions / opinions.sum(1, keepdims=True)) ** SHARPEN
    opinions = aligned(opinions / opinions.sum(1, keepdims=True), unlabelled, label_shares, shares)
    targets = opinions.astype(np.float32)
    targets[labelled] = LABEL_WEIGHT * np.eye(classes, dtype=np.float32)[y]
    weights = targets
    for fit in range(FITS):
        slopes, offsets, _ = linear_discriminant(x, weights + np.float32(EPS))
        if fit < FITS - 1:
            own = softmax(x @ slopes.astype(np.float32) + offsets.astype(np.float32)).astype(np.float32)
            weights = np.where(unlabelled[:, None], (targets + own) / 2, targets)
    return slopes, offsets, shares


def _held_out_logits(x: Floats, opinions: Sequence[Doubles], folds: Indices, labelled: Indices, y: Indices) -> Doubles:
    """Returns the logits (n, K) of the labelled samples, each from a fit to the pooled opinions without its fold."""
    logits = np.zeros((len(y), opinions[0].shape[1]))
    for fold, others in enumerate(opinions):
        in_training = folds != fold
        slopes, offsets, _ = _fit(x, others, labelled[in_training], y[in_training])
        logits[~in_training] = x[labelled[~in_training]] @ slopes + offsets
    return logits


def _shares(y: Indices, classes: int) -> Doubles:
    return np.bincount(y, minlength=classes) / len(y)


def _folds(y: Indices, number: int, seed: int) -> Indices:
    """Returns the fold of every label (n,), with each class spread evenly over the folds."""
    rng, folds, dealt = np.random.default_rng(seed), np.empty(len(y), np.int64), 0
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        folds[rows] = (np.arange(len(rows)) + dealt) % number
        dealt += len(rows)
    return folds
