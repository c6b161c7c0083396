"""The classifier that a run on cached views leaves: a linear one, fitted to the pooled opinions of several members.

The run's student is one member, beside logistic regression and label diffusion. Cross-validation on the labels decides
what each weighs (docs/results.md). What student and teacher predicted step by step stays in the record.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradebook.pipelines.training.cached_views import CachedViews
from gradebook.pipelines.training.cross_validation import StudentMember
from gradebook.pipelines.training.state import TrainState

if TYPE_CHECKING:
    from torch import nn

    from gradebook.mpl.networks import LinearHead
    from gradebook.mpl.pooled_classifier import PooledClassifier

VIEWED = 500  # samples besides the labelled ones whose augmented views say what augmentation changes


@dataclass(frozen=True, slots=True)
class FinalClassifier:
    """The classifier, and what is known of it without a test image."""

    net: "LinearHead"
    fitted: "PooledClassifier"
    labels: int  # that it was fitted to, and cross-validated on
    classes: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """Cross-validated accuracy: of every label, by a classifier that was fitted without it."""
        return self.fitted.held_out_accuracy[-1]

    def as_metrics(self) -> dict[str, Any]:
        """Returns a row for the run's metrics."""
        members = self.fitted.members
        return {
            "cross_validated_labels": self.labels,
            "member_weights": dict(zip(members, self.fitted.exponents, strict=True)),
            "member_accuracies": dict(zip(members, self.fitted.held_out_accuracy[:-1], strict=True)),
            "class_shares": dict(zip(self.classes, self.fitted.class_shares, strict=True)),
            "temperature": self.fitted.temperature,
            "held_out_calibration_error": dict(zip(("before", "after"), self.fitted.held_out_ece, strict=True)),
        }


def describe_members(row: Mapping[str, Any]) -> str:
    """Returns what was pooled and how good each member is by itself, from a row of the metrics; "" of any other row."""
    weights, accuracies = row.get("member_weights", {}), row.get("member_accuracies", {})
    members = [f"{name} {accuracies[name]:.0%} (weight {weight:.2f})" for name, weight in weights.items()]
    return f"pooled, by cross-validated accuracy: {', '.join(members)}" if members else ""


def fit_final_classifier(state: TrainState, student: "nn.Module") -> FinalClassifier | None:
    """Fits the pooled classifier to every label of a run, those held out for validation among them.

    Args:
        state: after the last step; its inputs are cached views.
        student: the run's finished student.

    Returns:
        The classifier; None where fewer than two classes have a label.
    """
    from gradebook.mpl.feature_spaces import AugmentedViews
    from gradebook.mpl.pooled_classifier import fit_pooled_classifier

    inputs, training_set, config = state.inputs, state.training_set, state.config
    assert isinstance(inputs, CachedViews), "the config allows it on cached views alone"
    labelled = np.flatnonzero(training_set.labels >= 0)
    if len(np.unique(training_set.labels[labelled])) < 2:
        return None
    samples = np.union1d(labelled, training_set.unlabelled)  # without those to which no class applies
    labels = training_set.labels[samples]
    others = np.random.default_rng(config.seed).permutation(len(samples))[:VIEWED]
    viewed = np.union1d(np.flatnonzero(labels >= 0), others)
    augmented = inputs.augmented_array(samples[viewed])
    fitted = fit_pooled_classifier(
        inputs.plain_array()[samples],
        labels,
        len(training_set.classes),
        views=None if augmented is None else AugmentedViews(augmented, viewed),
        members={f"{config.method} student": StudentMember(state, student, samples)},
        seed=config.seed,
    )
    return FinalClassifier(linear_head(fitted), fitted, len(labelled), training_set.classes)


def linear_head(fitted: "PooledClassifier") -> "LinearHead":
    """Returns the pooled classifier as a network on features."""
    import torch

    from gradebook.mpl.networks import LinearHead

    classes, features = fitted.weight.shape
    net = LinearHead(features, classes, 1.0)
    with torch.no_grad():
        net.classifier.weight.copy_(torch.from_numpy(fitted.weight))
        net.classifier.bias.copy_(torch.from_numpy(fitted.bias))
    return net.eval()
