"""The query strategies of a simulation, by name.

    random, entropy, margin, k_centre, badge, ...   mpl/query_strategies.py
    skactiveml:NAME                                 a pool strategy of scikit-activeml, such as skactiveml:TypiClust
    ours                                            the review queue in its default order
    ours:REASON                                     the review queue ordered by one reason

Shape legend    N candidates    M labelled samples    D features    K classes
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.curation.feature_classifier import read_predictions
from gradebook.pipelines.runs import Run
from gradebook.pipelines.training.config import ConfigError

if TYPE_CHECKING:
    from gradebook.mpl.query_strategies import Pool
    from gradebook.storage.store import Store

OURS, LIBRARY = "ours", "skactiveml"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundState:
    """Input of a strategy: the state after the training of a round."""

    store: "Store"
    run: Run | None  # the finished run; None before the first one
    candidates: list[str]  # ids of the unlabelled samples
    labelled: Mapping[str, int]  # sample id -> class
    classes: int
    features: Callable[[list[str]], NDArray[np.float32]]  # ids -> (n, D), plain views of the backbone
    random: np.random.Generator


Strategy = Callable[[RoundState, int], list[str]]  # (state, batch) -> ids


def find_strategy(name: str) -> Strategy:
    """Returns the strategy of that name.

    Raises:
        ConfigError: there is no such strategy, or its library is not installed.
    """
    from gradebook.mpl.query_strategies import STRATEGIES

    kind, _, detail = name.partition(":")
    if kind == OURS:
        return partial(_ours, reason=_reason(detail) if detail else None)
    if kind == LIBRARY:
        return partial(_library, strategy=_library_strategy(detail))
    if name not in STRATEGIES:
        raise ConfigError(
            f"there is no strategy {name!r}: choose from {', '.join(STRATEGIES)}, {OURS}, {OURS}:REASON "
            f"and {LIBRARY}:NAME"
        )
    return partial(_published, strategy=name)


def _ours(state: RoundState, batch: int, *, reason: str | None) -> list[str]:
    """The review queue, as a reviewer sees it."""
    from gradebook.pipelines.curation.review_queue import rank

    return [row.sample_id for row in rank(state.store, state.run, reason=reason, limit=batch, spread=True)]


def _published(state: RoundState, batch: int, *, strategy: str) -> list[str]:
    """A strategy of mpl/query_strategies.py. Before the first run, strategies that need a student choose at random."""
    from gradebook.mpl.query_strategies import COLD, STRATEGIES, at_random

    choose = STRATEGIES[strategy] if state.run or strategy in COLD else at_random
    return [state.candidates[k] for k in choose(_pool(state), batch, state.random)]


def _library(state: RoundState, batch: int, *, strategy: Any) -> list[str]:
    """A strategy of scikit-activeml on features of unit length, as in the papers.

    A strategy that needs a classifier gets logistic regression, which it fits to the labelled samples.
    """
    labelled = list(state.labelled)
    x = state.features([*labelled, *state.candidates])
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    y = np.full(len(x), np.nan)
    y[: len(labelled)] = [state.labelled[i] for i in labelled]
    query = strategy(missing_label=np.nan, random_state=int(state.random.integers(2**31))).query
    needs_classifier = "clf" in inspect.signature(query).parameters
    options = {"clf": _logistic_regression(state.classes)} if needs_classifier else {}
    rows = query(x, y, batch_size=min(batch, len(state.candidates)), **options)
    return [state.candidates[int(row) - len(labelled)] for row in rows]


def _logistic_regression(classes: int) -> Any:
    from skactiveml.classifier import SklearnClassifier
    from sklearn.linear_model import LogisticRegression

    return SklearnClassifier(LogisticRegression(max_iter=1000), classes=range(classes), missing_label=np.nan)


def _pool(state: RoundState) -> "Pool":
    from gradebook.mpl.query_strategies import Pool

    uniform = np.full((len(state.candidates), state.classes), 1 / state.classes)
    return Pool(
        features=state.features(state.candidates),
        labelled=state.features(list(state.labelled)),
        student=_student_probabilities(state.run, state.candidates) if state.run else uniform,
    )


def _student_probabilities(run: Run, ids: list[str]) -> NDArray[np.float64]:
    """Returns the finished student's probabilities (N, K) of these samples."""
    predictions = read_predictions(run)
    row = {sample_id: k for k, sample_id in enumerate(predictions.sample_ids)}
    return predictions.student[[row[i] for i in ids]]


def _reason(name: str) -> str:
    from gradebook.mpl.reasons import REASONS

    if name not in REASONS:
        raise ConfigError(f"there is no reason {name!r}: choose one of {', '.join(REASONS)}")
    return name


def _library_strategy(name: str) -> Any:
    try:
        from skactiveml import pool
    except ImportError as error:
        raise ConfigError(
            f"{LIBRARY}:{name} needs the package scikit-activeml: install it, or leave this strategy out"
        ) from error
    if name not in pool.__all__:
        raise ConfigError(f"scikit-activeml has no pool strategy {name!r}: choose another, such as TypiClust")
    return getattr(pool, name)
