"""The recorder: writes the predictions for each sample of each step in segments, in a background thread.

Training hands over tensors and continues; no database is involved. A segment is written and then renamed, so a killed
trainer loses the open segment and nothing else. Segments end at checkpoints: a resumed run removes those after its
checkpoint and writes the same rows again.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradebook.storage import checksums
from gradebook.storage.files import atomic_path
from gradebook.storage.segments import LABELS, RECORDED, segment_schema

if TYPE_CHECKING:
    from torch import Tensor

    from gradebook.mpl.step import StepPredictions
    from gradebook.pipelines.training.record_upload import RecordUploader

MAX_SEGMENT_ROWS = 200_000
_MAX_QUEUED = 2  # segments that may wait for the disk before training waits too

_Rows = list[tuple[int, "Tensor", "StepPredictions"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    """Rows to write, and whom to tell."""

    rows: _Rows
    wait: Callable[[], None]  # returns when the tensors are on the CPU
    written: threading.Event | None = None  # set when the segment is on disk
    last: bool = False


class Recorder:
    """Writes one process's segments, `rank0-000001.parquet` and following, into a directory."""

    def __init__(
        self,
        directory: Path,
        classes: Sequence[str],
        sample_ids: Sequence[str],
        *,
        process: int = 0,
        upload: "RecordUploader | None" = None,
    ):
        directory.mkdir(parents=True, exist_ok=True)
        for draft in directory.glob(f".rank{process}-*.tmp"):
            draft.unlink()
        self._directory, self._process, self._ids, self._upload = directory, process, sample_ids, upload
        self.thin: Callable[[_Rows], _Rows] | None = None  # chooses the rows of each segment that are written
        self._schema = segment_schema(classes)
        self._rows: _Rows = []
        self._count = 0  # of the rows
        self._wait: Callable[[], None] = _no_wait
        self._inbox: queue.Queue[_Segment] = queue.Queue(_MAX_QUEUED)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def put(self, step: int, samples: "Tensor", predictions: "StepPredictions") -> None:
        """Adds the predictions of a step for the samples at these positions (U,).

        The thread is woken for whole segments only; once a step would cost more than writing. A GPU starts to copy the
        tensors at once. XLA's devices, which would have to be waited for, keep them until the segment ends.

        Raises:
            OSError: an earlier segment could not be written.
        """
        self._check()
        row = samples, predictions
        if samples.is_cuda:
            row, self._wait = _to_cpu(samples, predictions), _copy_event(samples)
        self._rows.append((step, *row))
        self._count += len(samples)
        if self._count >= MAX_SEGMENT_ROWS:
            self._end()

    def flush(self) -> None:
        """Ends the open segment and returns when it is on disk.

        Raises:
            OSError: it could not be written.
        """
        written = threading.Event()
        self._end(written=written)
        written.wait()
        self._check()

    def close(self) -> None:
        """Ends the open segment and the thread; call it once."""
        self._end(last=True)
        self._thread.join()
        if self._upload is not None:
            self._upload.close()
        self._check()

    def _end(self, *, written: threading.Event | None = None, last: bool = False) -> None:
        """Queues the open segment for the thread, and opens another."""
        rows = [(step, *_to_cpu(samples, predictions)) for step, samples, predictions in self._rows]
        rows = rows if self.thin is None else self.thin(rows)
        self._inbox.put(_Segment(rows=rows, wait=self._wait, written=written, last=last))
        self._rows, self._count = [], 0

    def _work(self) -> None:
        while True:
            segment = self._inbox.get()
            try:
                if segment.rows and self._failure is None:
                    segment.wait()
                    self._write(segment.rows)
            except BaseException as failure:
                self._failure = failure
            if segment.written is not None:
                segment.written.set()
            if segment.last:
                return

    def _write(self, rows: _Rows) -> None:
        import pyarrow.parquet as pq

        numbers = [int(path.stem.split("-")[1]) for path in self._directory.glob(f"rank{self._process}-*.parquet")]
        name = f"rank{self._process}-{max(numbers, default=0) + 1:06d}"
        # a dictionary only pays for values that repeat, and readers use the statistics of steps only
        repeating = ["step", "sample_id", *LABELS]
        path = self._directory / f"{name}.parquet"
        with atomic_path(path, path.with_name(f".{name}.tmp")) as temporary:
            pq.write_table(
                self._table(rows), temporary, compression="zstd", use_dictionary=repeating, write_statistics=["step"]
            )
            checksums.append(path, temporary)
        if self._upload is not None:
            self._upload.wake()

    def _table(self, rows: _Rows) -> Any:
        import numpy as np
        import pyarrow as pa
        import torch

        steps = np.repeat(np.array([step for step, _, _ in rows], np.int32), [len(ids) for _, ids, _ in rows])
        used, codes = np.unique(torch.cat([ids for _, ids, _ in rows]).numpy(), return_inverse=True)
        names = pa.array([self._ids[position] for position in used], pa.string())
        columns: dict[str, Any] = {
            "step": pa.array(steps),
            "sample_id": pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), names),
        }
        for name in RECORDED:
            columns[name] = _column(
                [(len(ids), getattr(predictions, name)) for _, ids, predictions in rows], name in LABELS
            )
        return pa.table([columns[name] for name in self._schema.names], schema=self._schema)

    def _check(self) -> None:
        if self._failure is not None:
            raise OSError(
                f"the record cannot be written to {self._directory} ({self._failure}): free some space, then resume"
            ) from self._failure


def _column(values: list[tuple[int, "Tensor | None"]], labels: bool) -> Any:
    """Returns a column of the record from each step's number of rows and values; nulls where a step has none."""
    import pyarrow as pa
    import torch

    kind, dtype = (pa.int16(), torch.int16) if labels else (pa.float32(), torch.float32)
    present = [value for _, value in values if value is not None]
    if len(present) == len(values):
        return pa.array(torch.cat(present).to(dtype).numpy(), kind)
    parts = [pa.nulls(n, kind) if value is None else pa.array(value.to(dtype).numpy(), kind) for n, value in values]
    return pa.chunked_array(parts, kind)


def _to_cpu(samples: "Tensor", predictions: "StepPredictions") -> "tuple[Tensor, StepPredictions]":
    """Copies them to the CPU: from a GPU in the background, from other devices at once."""
    if samples.device.type == "cpu":
        return samples, predictions
    columns = {f.name: value for f in fields(predictions) if (value := getattr(predictions, f.name)) is not None}
    in_background = samples.is_cuda  # only these copies are waited for before they are read
    copied = {name: value.to("cpu", non_blocking=in_background) for name, value in columns.items()}
    return samples.to("cpu", non_blocking=in_background), replace(predictions, **copied)


def _no_wait() -> None:
    pass


def _copy_event(samples: "Tensor") -> Callable[[], None]:
    """Returns a function that waits for the copies started so far, which a GPU does in the background."""
    import torch

    wait: Callable[[], None] = torch.cuda.current_stream(samples.device).record_event().synchronize
    return wait
