"""Who picks the samples of a simulated round: chance, a strategy of the literature, a library, or our own queue.

    random, entropy, margin, k_centre, badge, ...   mpl/query_strategies.py
    skactiveml:NAME                                 a pool strategy of scikit-activeml, such as skactiveml:TypiClust
    ours                                            the product's queue in its default order
    ours:REASON                                     the product's queue in order of one reason

Shape legend    N candidates    M labelled samples    D features    K classes
"""

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
class Scene:
    """What there is to pick from when a round has been trained."""

    store: "Store"
    run: Run | None  # the finished run; None before the first one
    candidates: list[str]  # ids of the samples without a label
    labelled: Mapping[str, int]  # sample -> class
    classes: int
    features: Callable[[list[str]], NDArray[np.float32]]  # ids -> (n, D), plain views of the backbone
    random: np.random.Generator


Picker = Callable[[Scene, int], list[str]]  # (scene, batch) -> ids


def picker(strategy: str) -> Picker:
    """Returns who picks under that name.

    Raises:
        ConfigError: there is no such strategy, or its library is not installed.
    """
    from gradebook.mpl.query_strategies import STRATEGIES

    kind, _, name = strategy.partition(":")
    if kind == OURS:
        return partial(_ours, reason=_reason(name) if name else None)
    if kind == LIBRARY:
        return partial(_library, query=_query(name))
    if strategy not in STRATEGIES:
        raise ConfigError(
            f"there is no strategy {strategy!r}: choose from {', '.join(STRATEGIES)}, {OURS}, {OURS}:REASON "
            f"and {LIBRARY}:NAME"
        )
    return partial(_known, strategy=strategy)


def _ours(scene: Scene, batch: int, *, reason: str | None) -> list[str]:
    """The product's own queue, as a reviewer meets it."""
    from gradebook.pipelines.curation.review_queue import rank

    return [row.sample_id for row in rank(scene.store, scene.run, reason=reason, limit=batch, spread=True)]


def _known(scene: Scene, batch: int, *, strategy: str) -> list[str]:
    """A strategy of mpl/query_strategies.py; before the first run those that ask a student draw instead."""
    from gradebook.mpl.query_strategies import COLD, STRATEGIES, at_random

    choose = STRATEGIES[strategy] if scene.run or strategy in COLD else at_random
    return [scene.candidates[k] for k in choose(_pool(scene), batch, scene.random)]


def _library(scene: Scene, batch: int, *, query: Any) -> list[str]:
    """A strategy of scikit-activeml that asks for vectors alone; they come in length one, as its papers have them."""
    labelled = list(scene.labelled)
    x = scene.features([*labelled, *scene.candidates])
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    y = np.full(len(x), np.nan)
    y[: len(labelled)] = [scene.labelled[i] for i in labelled]
    asked = query(missing_label=np.nan, random_state=int(scene.random.integers(2**31)))
    found = asked.query(x, y, batch_size=min(batch, len(scene.candidates)))
    return [scene.candidates[int(k) - len(labelled)] for k in found]


def _pool(scene: Scene) -> "Pool":
    from gradebook.mpl.query_strategies import Pool

    uniform = np.full((len(scene.candidates), scene.classes), 1 / scene.classes)
    return Pool(
        features=scene.features(scene.candidates),
        labelled=scene.features(list(scene.labelled)),
        student=_student(scene.run, scene.candidates) if scene.run else uniform,
    )


def _student(run: Run, ids: list[str]) -> NDArray[np.float64]:
    """Returns the finished student's distributions (N, K) of these samples."""
    predictions = read_predictions(run)
    row = {sample_id: k for k, sample_id in enumerate(predictions.sample_ids)}
    return predictions.student[[row[i] for i in ids]]


def _reason(name: str) -> str:
    from gradebook.mpl.reasons import REASONS
    from gradebook.pipelines.curation.queue_items import reason_name

    name = reason_name(name)
    if name not in REASONS:
        raise ConfigError(f"there is no reason {name!r}: choose one of {', '.join(REASONS)}")
    return name


def _query(name: str) -> Any:
    try:
        from skactiveml import pool
    except ImportError as error:
        raise ConfigError(
            f"{LIBRARY}:{name} needs scikit-activeml: install it with uv sync --group bench, or leave it out"
        ) from error
    if name not in pool.__all__:
        raise ConfigError(f"scikit-activeml has no pool strategy {name!r}: choose TypiClust, say")
    return getattr(pool, name)
