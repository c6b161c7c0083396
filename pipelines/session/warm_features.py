"""The feature classifier of a session's run, fitted again for each snapshot without computing what no label changes.

Its principal components, the near-duplicates and the `CANDIDATES` nearest samples to each are computed once. The
neighbours in a snapshot are the nearest of the candidates in the classifier's space, so a snapshot compares each sample
with its candidates alone, and a finished run with all others (`gradebook.pipelines.curation.feature_classifier`).

Shape legend    N samples    V views    D features    d components    K classes    c candidates    k neighbours
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.mpl.gaussian_classifier import NEIGHBOURS, fit_predict, nearest, nearest_among, principal_components
from gradebook.pipelines.curation.feature_classifier import (
    FeatureClassifierOutput,
    Predictions,
    find_duplicates,
    mean_predictions,
)

if TYPE_CHECKING:
    from gradebook.storage.store import Store

CANDIDATES = 64


class WarmFeatures:
    """Fits the feature classifier to the predictions and labels of one snapshot after the other."""

    def __init__(self, store: "Store", sample_ids: Sequence[str], views: NDArray[np.float16]):
        """Computes everything that labels do not change.

        Args:
            store: the project.
            sample_ids: of the N samples.
            views: (N, V, D) of the samples.
        """
        self._ids, self._names = list(sample_ids), np.array(sample_ids)
        self._components = principal_components(views)
        self._candidates, _ = nearest(self._components, CANDIDATES)
        self._duplicate_of = find_duplicates(store, self._ids)

    def output(self, predictions: Predictions, labels: NDArray[np.int64]) -> FeatureClassifierOutput:
        """Returns the classifier's output, without scores of given labels.

        Args:
            predictions: of a snapshot.
            labels: (N,) class, negative for none.
        """
        probabilities, space = fit_predict(self._components, mean_predictions(predictions, self._ids), labels)
        neighbours, similarity = nearest_among(space, self._candidates, NEIGHBOURS)
        around: Any = probabilities[neighbours].mean(1)
        return FeatureClassifierOutput(
            fingerprint=np.array("live"),
            sample_ids=self._names,
            space=space.astype(np.float16),
            probabilities=probabilities.astype(np.float32),
            neighbour_mean=around.astype(np.float32),
            label_free=probabilities.astype(np.float32),
            label_free_neighbour_mean=around.astype(np.float32),
            similarity=similarity.mean(1),
            duplicate_of=self._duplicate_of,
        )
