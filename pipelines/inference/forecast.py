"""Forecasts accuracy against the number of labels: are more labels worth it, and of which classes?"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradebook.mpl.learning_curve import Curves, fit_curves
from gradebook.pipelines.inference import learning_points
from gradebook.pipelines.inference.learning_points import Points
from gradebook.storage.events import replay
from gradebook.storage.files import write_json, writing_cache
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.samples import Split
from gradebook.storage.store import tables_of

if TYPE_CHECKING:
    from gradebook.storage.store import Store

CACHE_FILE = "forecast.json"
MIN_LABELS, MIN_TEST = 20, 100  # labels to forecast from; labelled test images from which on they are scored
MAX_LABELS = 3_000  # random labels at most that are used
STATISTICS_SAMPLES = 5_000  # of the training split at most, for means and standard deviations
WORTH = 0.02  # more labels are worth it if twice as many may, within the 95 % interval, gain this much accuracy
MIN_OF_CLASS = 5  # labels of each class, below which a forecast does not advise to stop
MAX_NAMED = 3  # classes that the next labels should come from


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The accuracy that is expected with a number of labels."""

    labels: int
    accuracy: float
    interval: tuple[float, float]  # 95 %
    gain: float  # over the present accuracy
    gain_interval: tuple[float, float]  # 95 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A forecast of the accuracy of logistic regression on the embeddings."""

    labels: int  # at present
    batch: int
    scored_on: str  # "test split" or "cross-validation"
    scored: int  # images
    accuracy: float  # at present, by the curve
    interval: tuple[float, float]  # 95 %
    points: list[tuple[int, float]]  # measured: labels, accuracy
    expected: list[Expected]  # after one batch, after five, and with twice the labels
    stop: bool  # whether neither the next batch nor twice the labels are worth it: see `from_points`
    sentence: str
    classes: list[dict[str, Any]]  # that the next labels should come from: name, labels, accuracy

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self)


def forecast(store: "Store", *, batch: int = 20, seed: int = 0, progress: Callable[[int, int], None]) -> Forecast:
    """Returns a forecast from the present labels, and saves it for the app.

    Raises:
        ProjectError: there are too few labels, or images without embeddings.
    """
    if batch < 1:
        raise ProjectError(f"--batch {batch} must be at least 1: give the number of labels that you would add")
    stamp = _stamp(store.project)
    labels = replay(store.log.read())
    train = [s.sample_id for s in store.catalog.samples(Split.TRAIN)]
    test = [s.sample_id for s in store.catalog.samples(Split.TEST) if s.sample_id in labels]
    labelled = [i for i in train if i in labels]
    _check(store, labelled, labels)
    random = np.random.default_rng(seed)
    used = [labelled[k] for k in random.permutation(len(labelled))[:MAX_LABELS]]
    test = test if len(test) >= MIN_TEST else []
    x = _features(store, train, [*used, *test])
    names = sorted({labels[i] for i in (*used, *test)})
    y = np.array([names.index(labels[i]) for i in (*used, *test)], np.int64)
    n = len(used)
    if test:
        points = learning_points.on_test(x[:n], y[:n], x[n:], y[n:], seed=seed, progress=progress)
    else:
        points = learning_points.cross_validated(x, y, seed=seed, progress=progress)
    of_class = Counter(labels[i] for i in labelled)
    few = [name for name in store.project.classes if of_class[name] < MIN_OF_CLASS]
    scored_on = "test split" if test else "cross-validation"
    result = from_points(points, len(labelled), batch, names, scored_on=scored_on, few=few)
    if stamp is not None:
        with writing_cache():
            write_json(store.project.root / CACHE_FILE, {"stamp": stamp, "forecast": result.as_json()})
    return result


def from_points(
    points: Points, labels: int, batch: int, names: list[str], *, scored_on: str, few: Sequence[str] = ()
) -> Forecast:
    """Returns the forecast that measured points give.

    The images that are scored are a sample: their number limits how well any accuracy is known, but not a gain, which
    is measured on the same images. It says stop if all of these hold: the next batch is expected to gain less than its
    interval, or one image of those that are scored, can tell apart; the 95 % interval of the gain with twice the labels
    ends below `WORTH`, because a small gain for a small batch does not mean that labels stop helping; and each class
    has `MIN_OF_CLASS` labels, because a class with fewer can hardly be learnt or scored.

    Args:
        points: accuracy with parts of the labels.
        labels: their number.
        batch: the number of labels to add next.
        names: of the classes in `points`.
        scored_on: what accuracy was measured on.
        few: classes with fewer than `MIN_OF_CLASS` labels.
    """
    curves = fit_curves(points.sizes.tolist(), points.accuracy.tolist(), points.deviation.tolist())
    now = curves.at(labels)
    present = curves.mean(now)
    noise = float(np.sqrt(points.variance_factor * max(present * (1 - present), 0.01) / points.scored))
    expected = [_expected(curves, labels, more, noise) for more in sorted({batch, 5 * batch, labels})]
    low, high = curves.interval(now, noise)
    step = next(row for row in expected if row.labels == labels + batch)
    doubled = next(row for row in expected if row.labels == 2 * labels)
    is_small = step.gain < max((step.gain_interval[1] - step.gain_interval[0]) / 2, 1 / points.scored)
    stop = is_small and doubled.gain_interval[1] < WORTH and not few
    classes = [] if stop else _weakest(points, names)
    return Forecast(
        labels=labels,
        batch=batch,
        scored_on=scored_on,
        scored=points.scored,
        accuracy=_rounded(present),
        interval=(_rounded(low), _rounded(high)),
        points=[(int(n), _rounded(a)) for n, a in zip(points.sizes, points.accuracy, strict=True)],
        expected=expected,
        stop=bool(stop),
        sentence=_stop_sentence(step, doubled, batch)
        if stop
        else _sentence(step, doubled, batch, classes, few, is_small=bool(is_small)),
        classes=classes,
    )


def _expected(curves: Curves, labels: int, more: int, noise: float) -> Expected:
    """Returns the accuracy that is expected with `more` labels; `noise` is the standard error of any accuracy."""
    now, later = curves.at(labels), curves.at(labels + more)
    low, high = curves.interval(later, noise)
    gain_low, gain_high = curves.interval(later - now)
    return Expected(
        labels=labels + more,
        accuracy=_rounded(curves.mean(later)),
        interval=(_rounded(low), _rounded(high)),
        gain=_rounded(curves.mean(later - now)),
        gain_interval=(_rounded(gain_low), _rounded(gain_high)),
    )


def saved_forecast(project: Project) -> tuple[dict[str, Any], bool] | None:
    """Returns the newest forecast as plain data, and whether it is of the present labels; None without one."""
    try:
        saved = json.loads((project.root / CACHE_FILE).read_text(encoding="utf-8"))
        return saved["forecast"], saved["stamp"] == _stamp(project)
    except (OSError, ValueError, KeyError, TypeError):  # missing, damaged or of another version
        return None


def describe(result: dict[str, Any]) -> str:
    """Returns a forecast as text."""
    lines = [
        f"{result['labels']} labels: accuracy {_percent(result['accuracy'], result['interval'])} of logistic "
        f"regression on the embeddings, by {result['scored_on']} on {result['scored']} images"
    ]
    lines += [
        f"{row['labels']} labels: {_percent(row['accuracy'], row['interval'])}, "
        f"{100 * row['gain']:+.1f} points "
        f"({100 * row['gain_interval'][0]:+.1f} to {100 * row['gain_interval'][1]:+.1f})"
        for row in result["expected"]
    ]
    return "\n".join([*lines, result["sentence"]])


def _percent(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.1%} (95% interval {max(interval[0], 0):.1%} to {min(interval[1], 1):.1%})"


def _gain(step: Expected, batch: int) -> str:
    low, high = (100 * value for value in step.gain_interval)
    return f"{batch} more labels are expected to add {100 * step.gain:.1f} points ({low:.1f} to {high:.1f})"


def _stop_sentence(step: Expected, doubled: Expected, batch: int) -> str:
    most = f"Even twice the labels, {doubled.labels}, are expected to add {100 * doubled.gain:.1f} points"
    return f"Stop: {_gain(step, batch)}. {most}, and at most {100 * doubled.gain_interval[1]:.1f}."


def _sentence(
    step: Expected,
    doubled: Expected,
    batch: int,
    classes: list[dict[str, Any]],
    few: Sequence[str],
    *,
    is_small: bool,
) -> str:
    text = f"{_gain(step, batch)}."
    if is_small:
        most = f"twice the labels, {doubled.labels}, may add {100 * doubled.gain_interval[1]:.1f}"
        text = f"{_gain(step, batch)}, which is less than can be measured, but {most}."
    if few:
        names = ", ".join(few[:MAX_NAMED]) + (f" and {len(few) - MAX_NAMED} more" if len(few) > MAX_NAMED else "")
        return f"{text} First label at least {MIN_OF_CLASS} images of each class; these have fewer: {names}."
    names = ", ".join(f"{row['name']} ({row['accuracy']:.0%} right)" for row in classes)
    return f"{text} Take them from: {names}." if names else text


def _weakest(points: Points, names: list[str]) -> list[dict[str, Any]]:
    """Returns the classes of which most images are mistaken, as the true class or as the predicted one."""
    wrong = points.truth != points.predicted
    mistakes = [int((wrong & ((points.truth == k) | (points.predicted == k))).sum()) for k in range(len(names))]
    order = sorted(range(len(names)), key=lambda k: -mistakes[k])[:MAX_NAMED]
    rows = []
    for k in order:
        of_class = points.truth == k
        if mistakes[k] and of_class.any():
            accuracy = float((points.predicted[of_class] == k).mean())
            rows.append({"name": names[k], "images": int(of_class.sum()), "accuracy": _rounded(accuracy)})
    return rows


def _check(store: "Store", labelled: list[str], given: dict[str, str]) -> None:
    root, spaces = store.project.root, store.vectors.spaces()
    if len(labelled) < MIN_LABELS or len({given[i] for i in labelled}) < 2:
        raise ProjectError(
            f"{len(labelled)} labels are too few for a forecast: label at least {MIN_LABELS} images, of two classes"
        )
    missing = store.vectors.missing(spaces[-1].backbone, labelled) if spaces else labelled
    if missing:
        raise ProjectError(f"{len(missing)} labelled images have no embedding: run: gradebook embed {root}")


def _features(store: "Store", train: list[str], ids: list[str]) -> learning_points.Floats:
    """Returns the plain views of the images, standardised as those of the training split."""
    backbone = store.vectors.spaces()[-1].backbone
    known = set(train) - set(store.vectors.missing(backbone, train))
    part = [i for i in train if i in known]
    part = part[:: max(1, len(part) // STATISTICS_SAMPLES)]
    x, y = (store.vectors.read(backbone, some, views=1)[:, 0].astype(np.float32) for some in (part, ids))
    deviation = x.std(0)
    return np.asarray((y - x.mean(0)) / np.where(deviation > 1e-6, deviation, 1))


def _stamp(project: Project) -> str | None:
    return tables_of(project).stamp(("samples", "splits", "events", "spaces"))


def _rounded(value: float) -> float:
    return round(float(value), 4)
