"""The accuracies of a run, each with its number of images and its 95 % interval."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradebook.pipelines.reporting.run_comparison import EVALUATION
from gradebook.pipelines.runs import Run

MIN_IMAGES = 30  # below it an accuracy says little
Z95 = 1.96
SAMPLES = "samples.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An accuracy that was measured."""

    accuracy: float
    n: int  # images; 0 where it is not known
    interval: tuple[float, float]  # 95 %, by Wilson

    @property
    def is_weak(self) -> bool:
        """Whether it was measured on too few images to say much."""
        return self.n < MIN_IMAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The difference to an earlier run."""

    since: str  # the earlier run
    on: str  # "test images" or "validation labels"
    difference: float  # of the accuracies
    interval: tuple[float, float]  # 95 %, as if the two were measured on different images, which is at least as wide


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCard:
    """The accuracies of a run."""

    run: str
    validation: Measured | None
    cross_validated: bool  # whether `validation` is over all labels, each predicted without itself
    test: Measured | None  # by the newest evaluation
    baseline: float | None  # test accuracy of logistic regression on the same vectors and labels
    change: Change | None  # since the finished run before it


def run_card(run: Run, earlier: Sequence[Run] = ()) -> RunCard:
    """Returns the card of a run.

    Args:
        run: the run.
        earlier: the runs that began before it, oldest first.
    """
    validation, cross_validated = _validation(run)
    test, baseline = _test(run)
    return RunCard(
        run=run.name,
        validation=validation,
        cross_validated=cross_validated,
        test=test,
        baseline=baseline,
        change=_change(test, validation, [other for other in earlier if other.has_results]),
    )


def measured(accuracy: float, n: int) -> Measured:
    """Returns an accuracy on n images with its interval."""
    from gradebook.mpl.metrics import accuracy_interval

    return Measured(accuracy=accuracy, n=n, interval=accuracy_interval(accuracy, n) if n else (0.0, 1.0))


def _validation(run: Run) -> tuple[Measured | None, bool]:
    rows = [row for row in run.metrics() if row.get("validation_accuracy") is not None]
    if not rows:
        return None, False
    labels = rows[-1].get("cross_validated_labels")
    n = int(labels) if labels is not None else len(_read(run, SAMPLES).get("validation", ()))
    return measured(float(rows[-1]["validation_accuracy"]), n), labels is not None


def _test(run: Run) -> tuple[Measured | None, float | None]:
    saved = _read(run, EVALUATION)
    if not isinstance(saved.get("accuracy"), int | float) or not isinstance(saved.get("n"), int):
        return None, None
    baseline = saved.get("baseline")
    accuracy = baseline.get("accuracy") if isinstance(baseline, dict) else None
    return measured(float(saved["accuracy"]), saved["n"]), accuracy


def _change(test: Measured | None, validation: Measured | None, earlier: Sequence[Run]) -> Change | None:
    """Returns the change since the newest earlier run that was measured in the same way, at best on the test split."""
    for other in reversed(earlier):
        pairs = ("test images", test, _test(other)[0]), ("validation labels", validation, _validation(other)[0])
        for on, now, before in pairs:
            if now is not None and before is not None and now.n and before.n:
                variance = sum(max(m.accuracy * (1 - m.accuracy), 1 / (m.n + 4)) / m.n for m in (now, before))
                difference, half = now.accuracy - before.accuracy, Z95 * float(np.sqrt(variance))
                interval = (difference - half, difference + half)
                return Change(since=other.name, on=on, difference=difference, interval=interval)
    return None


def _read(run: Run, name: str) -> dict[str, Any]:
    try:
        value = json.loads((run.path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
