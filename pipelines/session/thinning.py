"""Which rows of the record a session keeps, so that a day's record stays small.

The first `WHOLE_STEPS` steps of a run are kept whole, and so is each segment's last step. Of a later segment, the rows
of one step in `EVERY` are kept, and all rows of the samples that something happened to: teacher or student changed its
label in the segment, compared with the sample's last label before, or a label was given or withdrawn since the segment
before. A labelled sample is not drawn any more, so the rows that led to its label are in earlier segments. Their
omitted rows stay in memory, up to `MAX_WAITING_ROWS`, and are written once their sample gets a label.

Shape legend    N samples    U rows of a step    R rows of a segment
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from gradebook.pipelines.runs import Change

if TYPE_CHECKING:
    from torch import Tensor

    from gradebook.mpl.step import StepPredictions

WHOLE_STEPS = 600  # as many as the preset quick trains
EVERY = 8
MAX_WAITING_ROWS = 200_000  # some 10 MB, a few bursts

Row = tuple[int, "Tensor", "StepPredictions"]  # step, samples (U,), predictions
Rows = list[Row]


class Thinning:
    """Chooses the rows of one segment after the other."""

    def __init__(self, sample_ids: Sequence[str], changes: Sequence[Change]):
        """Starts with no label for any sample.

        Args:
            sample_ids: of the N samples.
            changes: of the run's labels; the trainer appends to them.
        """
        import torch

        self._row = {sample_id: row for row, sample_id in enumerate(sample_ids)}
        self._changes, self._changes_read = changes, len(changes)
        self._last = torch.full((2, len(sample_ids)), -1)  # labels of teacher and student, -1 before the first
        self._waiting: deque[Row] = deque()  # omitted rows, in order of steps

    def __call__(self, rows: Rows) -> Rows:
        """Returns the rows of a segment to keep, after those of earlier segments to add; on the CPU."""
        if not rows:
            return rows
        labelled = self._newly_labelled()
        kept = self._take_waiting(labelled)
        whole = self._changed(rows) | labelled
        last = rows[-1][0]
        for row in rows:
            step, samples, _ = row
            if step <= WHOLE_STEPS or step % EVERY == 0 or step == last:
                kept.append(row)
            else:
                mask = whole[samples]
                kept += _where(row, mask)
                self._waiting += _where(row, ~mask)
        self._forget_oldest()
        return kept

    def _newly_labelled(self) -> "Tensor":
        """Returns (N,) whether a label of the sample was given, changed or withdrawn since the last call."""
        import torch

        mask = torch.zeros(self._last.shape[1], dtype=torch.bool)
        new, self._changes_read = self._changes[self._changes_read :], len(self._changes)
        mask[[self._row[sample_id] for change in new for sample_id in change.labels]] = True
        return mask

    def _take_waiting(self, labelled: "Tensor") -> Rows:
        """Takes the omitted rows of these samples (N,) out of memory."""
        if not labelled.any():
            return []
        taken, waiting = list[Row](), deque[Row]()
        for row in self._waiting:
            mask = labelled[row[1]]
            taken += _where(row, mask)
            waiting += _where(row, ~mask)
        self._waiting = waiting
        return taken

    def _forget_oldest(self) -> None:
        count = sum(len(samples) for _, samples, _ in self._waiting)
        while count > MAX_WAITING_ROWS:
            count -= len(self._waiting.popleft()[1])

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


def _where(row: Row, mask: "Tensor") -> Rows:
    """Returns the part of a step's rows that is in a mask (U,); nothing if it is empty."""
    if not mask.any():
        return []
    step, samples, predictions = row
    columns = {f.name: getattr(predictions, f.name) for f in fields(predictions)}
    of_mask = {name: column[mask] for name, column in columns.items() if column is not None}
    return [(step, samples[mask], replace(predictions, **of_mask))]
