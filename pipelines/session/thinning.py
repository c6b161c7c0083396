"""Which rows of the record a session keeps, so that a day's record stays small.

The first `WHOLE_STEPS` steps of a run are kept whole, and so is each segment's last step. Of a later segment, the rows
of a sample are kept whole if teacher or student changed its label in it, compared with the sample's last label
before; of other samples, the rows of one step in `EVERY`.

Shape legend    N samples    U rows of a step    R rows of a segment
"""

from dataclasses import fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from gradebook.mpl.step import StepPredictions

WHOLE_STEPS = 600  # as many as the preset quick trains
EVERY = 8

Rows = list[tuple[int, "Tensor", "StepPredictions"]]  # step, samples (U,), predictions


class Thinning:
    """Chooses the rows of one segment after the other."""

    def __init__(self, samples: int):
        """Starts with no label for any of N samples."""
        import torch

        self._last = torch.full((2, samples), -1)  # labels of teacher and student, -1 before the first

    def __call__(self, rows: Rows) -> Rows:
        """Returns the rows of a segment to keep, in order of steps; on the CPU."""
        if not rows:
            return rows
        changed = self._changed(rows)
        last = rows[-1][0]
        kept = []
        for step, samples, predictions in rows:
            if step <= WHOLE_STEPS or step % EVERY == 0 or step == last:
                kept.append((step, samples, predictions))
            elif (mask := changed[samples]).any():
                kept.append((step, samples[mask], _where(predictions, mask)))
        return kept

    def _changed(self, rows: Rows) -> "Tensor":
        """Returns (N,) whether a label of the sample differs from the one before, and remembers the newest labels."""
        import torch

        changed = torch.zeros(self._last.shape[1], dtype=torch.bool)
        for _, samples, predictions in rows:
            for last, labels in zip(self._last, (predictions.teacher_label, predictions.student_label), strict=True):
                if labels is not None:
                    before = last[samples]
                    changed[samples[(before >= 0) & (before != labels)]] = True
                    last[samples] = labels
        return changed


def _where(predictions: "StepPredictions", mask: "Tensor") -> "StepPredictions":
    """Returns the predictions of the rows in a mask (U,)."""
    columns = {f.name: getattr(predictions, f.name) for f in fields(predictions)}
    return replace(predictions, **{name: column[mask] for name, column in columns.items() if column is not None})
