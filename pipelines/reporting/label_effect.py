"""What a label would have done, in one sentence, by the exact feedback in an image's record."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def label_effect(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns how often training on this image lowered the loss on the labels, by class; empty without feedback.

    The record has the feedback of the teacher's class, and the class that would have helped most, with its gain over
    the teacher's. So of another class it is known at how many steps it would have lowered the loss most.

    Args:
        rows: the record of one image in one run.
    """
    known = [row for row in rows if row.get("feedback") is not None and row["teacher_label"] is not None]
    if not known:
        return ""
    name, times = Counter(row["teacher_label"] for row in known).most_common(1)[0]
    helped = sum(row["teacher_label"] == name and row["feedback"] > 0 for row in known)
    text = f"Called {name}, this image lowered the loss on your labels at {helped} of {_steps(times)}"
    others = Counter(row["best_label"] for row in known if row["best_label"] not in (None, name) and _best(row) > 0)
    if not others:
        return f"{text}; no other class would have lowered it more."
    other, most = others.most_common(1)[0]
    return f"{text}; called {other}, it would have lowered it most at {most} of {_steps(len(known))}."


def _best(row: Mapping[str, Any]) -> float:
    """Returns the feedback of the best class: nats by which it would have lowered the loss."""
    return float(row["feedback"]) + float(row["best_gain"] or 0.0)


def _steps(number: int) -> str:
    return f"{number} recorded step{'' if number == 1 else 's'}"
