"""Simple classifiers of frozen features as baselines, from scikit-learn where it has them.

Each takes features of the training images (N, D), their labels (N,) with -1 for none, features of the test images (M,
D) and the number of classes K, and returns the probabilities of the test images (M, K). Test images are not used in
training.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.mpl.opinion_pool import softmax
from gradebook.pipelines.inference.baseline import class_probabilities, logistic_regression

Features = NDArray[np.float32]
Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]
Baseline = Callable[[Features, Labels, Features, int], Probabilities]

COSINE_SCALE = 20.0  # of cosine similarities as logits; changes no accuracy
EPS = 1e-12


def logistic(x: Features, labels: Labels, test: Features, classes: int) -> Probabilities:
    """Multinomial logistic regression (C = 1) on features that are standardised by all training images."""
    x, test = _standardised(x, test)
    return _predicted(logistic_regression(), x, labels, test, classes)


def prototypes(x: Features, labels: Labels, test: Features, classes: int) -> Probabilities:
    """The nearest class mean by cosine similarity (Snell et al., 2017)."""
    unit = _unit(x)
    means = _unit(np.stack([unit[labels == c].mean(0) for c in range(classes)]))
    return softmax(COSINE_SCALE * _unit(test) @ means.T)


def nearest_neighbours(x: Features, labels: Labels, test: Features, classes: int) -> Probabilities:
    """The five nearest labelled images by cosine similarity, fewer if a class has fewer labels."""
    from sklearn.neighbors import KNeighborsClassifier

    fewest = int(np.bincount(labels[labels >= 0], minlength=classes).min())
    return _predicted(KNeighborsClassifier(max(1, min(5, fewest))), _unit(x), labels, _unit(test), classes)


def self_training(x: Features, labels: Labels, test: Features, classes: int) -> Probabilities:
    """Self-training with logistic regression (scikit-learn's defaults)."""
    from sklearn.semi_supervised import SelfTrainingClassifier

    x, test = _standardised(x, test)
    model = SelfTrainingClassifier(logistic_regression()).fit(x, labels)
    return class_probabilities(model, test, classes)


def label_diffusion(x: Features, labels: Labels, test: Features, classes: int) -> Probabilities:
    """Label diffusion (Iscen et al., 2019); a test image gets the weighted mean of its nearest training images."""
    from gradebook.mpl.label_diffusion import POWER, diffused_probabilities, influence, neighbour_graph

    x, test = _standardised(x, test)
    labelled = np.flatnonzero(labels >= 0)
    diffused = diffused_probabilities(influence(neighbour_graph(x), labelled), labels[labelled], classes)
    similarity = _unit(test) @ _unit(x).T
    nearest = np.argpartition(-similarity, 20, axis=1)[:, :20]
    weights = np.maximum(np.take_along_axis(similarity, nearest, 1), EPS) ** POWER
    mass = (weights[:, :, None] * diffused[nearest]).sum(1)
    return np.asarray(mass / mass.sum(1, keepdims=True), np.float64)


def tim(x: Features, labels: Labels, test: Features, classes: int) -> Probabilities:
    """Transductive information maximisation by gradient descent (Boudiaf et al., 2020), on the training images."""
    import torch
    import torch.nn.functional as nnf

    mean = x.mean(0)
    unit, unit_test = (torch.from_numpy(_unit(values - mean)) for values in (x, test))
    labelled, unlabelled = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    y = torch.from_numpy(labels[labelled])
    weights = torch.stack([unit[labels == c].mean(0) for c in range(classes)]).requires_grad_()
    optimizer = torch.optim.Adam([weights], 1e-3)

    def logits(z: Any) -> Any:
        return 15 * (z @ weights.T - weights.square().sum(1) / 2 - 0.5)

    for _ in range(300):
        p = logits(unit[unlabelled]).softmax(1)
        marginal = p.mean(0)
        entropy_of_mean = -(marginal * marginal.clamp_min(EPS).log()).sum()
        mean_entropy = -(p * p.clamp_min(EPS).log()).sum(1).mean()
        loss = 0.1 * nnf.cross_entropy(logits(unit[labelled]), y) - entropy_of_mean + 0.1 * mean_entropy
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return np.asarray(logits(unit_test).softmax(1).double().numpy())


def pt_map(x: Features, labels: Labels, test: Features, classes: int) -> Probabilities:
    """Power transform and maximum a posteriori by optimal transport (Hu et al., 2021), on the training images.

    The paper's settings: exponent 0.5, inverse temperature 10, step 0.2, 20 epochs, classes of equal size.
    """
    x, test = (_unit(np.sign(values) * np.sqrt(np.abs(values))) for values in (x, test))
    mean = x.mean(0)
    x, test = _unit(x - mean), _unit(test - mean)
    labelled = labels >= 0
    targets = np.eye(classes)[labels[labelled]]
    centres = (targets.T @ x[labelled]) / np.maximum(targets.sum(0)[:, None], EPS)
    plan = np.zeros((len(x), classes))
    plan[labelled] = targets
    for _ in range(20):
        plan[~labelled] = _transported(np.exp(-10 * _squared_distances(x[~labelled], centres)))
        estimate = (plan.T @ x) / np.maximum(plan.sum(0)[:, None], EPS)
        centres = centres + 0.2 * (estimate - centres)
    return softmax(-10 * _squared_distances(test, centres))


def gaussians_on_logistic(x: Features, labels: Labels, test: Features, classes: int) -> Probabilities:
    """A Gaussian for each class with a shared covariance, fitted to the predictions of logistic regression."""
    from gradebook.mpl.feature_spaces import feature_spaces
    from gradebook.mpl.gaussian_classifier import linear_discriminant

    labelled = np.flatnonzero(labels >= 0)
    opinions = logistic(x, labels, x, classes)
    opinions[labelled] = 10 * np.eye(classes)[labels[labelled]]
    spaces = feature_spaces(x, labelled)
    slopes, offsets, _ = linear_discriminant(spaces.plain, opinions)
    return softmax((test - spaces.mean) @ spaces.basis @ slopes + offsets)


BASELINES: dict[str, Baseline] = {
    "logistic regression": logistic,
    "prototypes": prototypes,
    "nearest neighbours": nearest_neighbours,
    "label diffusion": label_diffusion,
    "self-training": self_training,
    "TIM": tim,
    "PT-MAP": pt_map,
    "Gaussians on logistic": gaussians_on_logistic,
}


def _predicted(model: Any, x: Features, labels: Labels, test: Features, classes: int) -> Probabilities:
    labelled = labels >= 0
    return class_probabilities(model.fit(x[labelled], labels[labelled]), test, classes)


def _standardised(x: Features, test: Features) -> tuple[Features, Features]:
    mean, spread = x.mean(0), x.std(0)
    spread = spread + 0.05 * spread.mean() + EPS
    return (x - mean) / spread, (test - mean) / spread


def _transported(odds: Probabilities) -> Probabilities:
    """Returns the odds (N, K) scaled so that rows sum to 1 and classes have the same size (Sinkhorn's algorithm)."""
    share = len(odds) / odds.shape[1]
    for _ in range(100):
        odds = odds * (share / np.maximum(odds.sum(0), EPS))
        odds = odds / np.maximum(odds.sum(1, keepdims=True), EPS)
    return odds


def _squared_distances(x: Features, centres: NDArray[np.float64]) -> Probabilities:
    squares: Probabilities = np.square(x).sum(1)[:, None] - 2 * x @ centres.T + np.square(centres).sum(1)
    return np.maximum(squares, 0.0)


def _unit(x: Features) -> Features:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), EPS), np.float32)
