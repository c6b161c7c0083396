"""The effects of labels: which predictions changed, and the earlier pseudo-label of the newest labelled image.

Shape legend    N samples
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradebook.pipelines.runs import Run
from gradebook.storage.files import write_json

CHANGED = "changed.json"
RECENT_LABELS = 10

Classes = NDArray[np.int64]  # (N,) class, -1 for none


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPrediction:
    """An image whose predicted class differs from that of an earlier snapshot."""

    sample_id: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The images whose predicted class changed with some labels."""

    labels: int = 0  # samples whose label changed
    changed: tuple[ChangedPrediction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictFeedback:
    """The newest verdict in a snapshot, and the teacher's pseudo-label before it."""

    sample_id: str
    label: str | None  # None for a rejected image
    pseudo_label: str = ""  # of the teacher; empty if it had none
    probability: float = 0.0  # of the pseudo-label
    feedback: float | None = None  # mean feedback of the pseudo-label, nats; None if the image was never drawn

    @property
    def sentence(self) -> str:
        """The feedback as a sentence."""
        verdict = "You rejected it" if self.label is None else f"You labelled it {self.label}"
        if not self.pseudo_label:
            return f"{verdict}. The teacher had no pseudo-label for it yet."
        agrees = self.pseudo_label == self.label
        teacher = f"the teacher's pseudo-label was {'the same' if agrees else self.pseudo_label}"
        start = f"{verdict}; {teacher} ({self.probability:.0%})"
        if self.feedback is None:
            return f"{start}, and the student had not trained on it yet."
        effect = "lowered" if self.feedback > 0 else "raised"
        return f"{start}, which had {effect} the student's loss on the labels."


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What the newest labels of a snapshot changed."""

    last: Effect = Effect()  # the labels since the snapshot before the newest label
    recent: Effect = Effect()  # the last `RECENT_LABELS` labels, or fewer
    verdict: VerdictFeedback | None = None


class EffectTracker:
    """Compares the predictions of snapshots: remembers those after each of the last labels."""

    def __init__(self, names: Sequence[str], sample_ids: Sequence[str]):
        self._names, self._ids = names, sample_ids
        self._states: list[tuple[NDArray[np.int16], NDArray[np.int16]]] = []  # labels and predicted classes, (N,) each

    def add(self, labels: Classes, predicted: Classes) -> Effects:
        """Returns what the newest labels changed, from the predictions that they led to; images without one are -1."""
        state = labels.astype(np.int16), predicted.astype(np.int16)
        if self._states and np.array_equal(self._states[-1][0], state[0]):
            self._states.pop()
        known = self._states = [s for s in self._states if (s[0] != state[0]).sum() <= RECENT_LABELS]
        effects = Effects(last=self._effect(known[-1:], state), recent=self._effect(known[:1], state))
        known.append(state)
        return effects

    def _effect(
        self,
        base: Sequence[tuple[NDArray[np.int16], NDArray[np.int16]]],
        now: tuple[NDArray[np.int16], NDArray[np.int16]],
    ) -> Effect:
        if not base:
            return Effect()
        ((labels, before),), after = base, now[1]
        rows = np.flatnonzero((before >= 0) & (after >= 0) & (before != after)).tolist()
        changed = tuple(
            ChangedPrediction(sample_id=self._ids[k], before=self._names[before[k]], after=self._names[after[k]])
            for k in rows
        )
        return Effect(labels=int((labels != now[0]).sum()), changed=changed)


def write_effects(directory: Path, effects: Effects) -> None:
    """Writes what labels changed into a snapshot's directory."""
    verdict = None if effects.verdict is None else asdict(effects.verdict)
    write_json(
        directory / CHANGED, {"last": _as_json(effects.last), "recent": _as_json(effects.recent), "verdict": verdict}
    )


def read_effects(run: Run) -> Effects:
    """Returns what the newest labels of a run's newest snapshot changed; nothing if that cannot be read."""
    try:
        data = json.loads((run.results / CHANGED).read_text(encoding="utf-8"))
        return Effects(
            last=_effect(data["last"]),
            recent=_effect(data["recent"]),
            verdict=None if data["verdict"] is None else _verdict(data["verdict"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Effects()


def _as_json(effect: Effect) -> dict[str, Any]:
    return {"labels": effect.labels, "changed": [[row.sample_id, row.before, row.after] for row in effect.changed]}


def _effect(data: dict[str, Any]) -> Effect:
    changed = [ChangedPrediction(sample_id=str(i), before=str(old), after=str(new)) for i, old, new in data["changed"]]
    return Effect(labels=int(data["labels"]), changed=tuple(changed))


def _verdict(data: dict[str, Any]) -> VerdictFeedback:
    return VerdictFeedback(
        sample_id=str(data["sample_id"]),
        label=None if data["label"] is None else str(data["label"]),
        pseudo_label=str(data["pseudo_label"]),
        probability=float(data["probability"]),
        feedback=None if data["feedback"] is None else float(data["feedback"]),
    )
