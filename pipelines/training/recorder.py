"""The trainer's side of the record: what was said of each sample, written in segments by a thread of its own.

Training hands over tensors and goes on; no database is involved. A segment is written whole and then renamed, so a
killed trainer loses the open segment and nothing else. Segments end where checkpoints are made: a resumed run takes
away those after its checkpoint and writes the same rows again.
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

    from gradebook.mpl.step import Opinions
    from gradebook.pipelines.training.record_upload import RecordUploader

MAX_SEGMENT_ROWS = 200_000  # rows of a segment at most
_HELD = 2  # segments that may wait for the disk before training waits too

_Rows = list[tuple[int, "Tensor", "Opinions"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    """What is to be written."""

    rows: _Rows
    arrived: Callable[[], None]  # waits until the tensors are here
    written: threading.Event | None = None  # to set when it is on disk
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
        self._schema = segment_schema(classes)
        self._rows: _Rows = []
        self._number = 0  # of them
        self._arrived: Callable[[], None] = _at_once
        self._inbox: queue.Queue[_Segment] = queue.Queue(_HELD)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def put(self, step: int, samples: "Tensor", opinions: "Opinions") -> None:
        """Hands over what was said at a step of the samples at these positions (U,).

        The thread is woken for whole segments only: a word a step would cost more than writing. A GPU sends what was
        said at once; XLA's devices, which would be waited for, keep it until the segment ends.

        Raises:
            OSError: an earlier segment could not be written.
        """
        self._check()
        here = samples, opinions
        if samples.is_cuda:
            here, self._arrived = _sent(samples, opinions), _arrival(samples)
        self._rows.append((step, *here))
        self._number += len(samples)
        if self._number >= MAX_SEGMENT_ROWS:
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
        """Gives the open segment to the thread, and begins another."""
        rows = [(step, *_sent(samples, opinions)) for step, samples, opinions in self._rows]
        self._inbox.put(_Segment(rows=rows, arrived=self._arrived, written=written, last=last))
        self._rows, self._number = [], 0

    def _work(self) -> None:
        while True:
            segment = self._inbox.get()
            try:
                if segment.rows and self._failure is None:
                    segment.arrived()
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
        # Of numbers that hardly repeat a dictionary costs more than it saves; readers ask for the bounds of steps only.
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
            columns[name] = _column([(len(ids), getattr(said, name)) for _, ids, said in rows], name in LABELS)
        return pa.table([columns[name] for name in self._schema.names], schema=self._schema)

    def _check(self) -> None:
        if self._failure is not None:
            raise OSError(
                f"the record cannot be written to {self._directory} ({self._failure}): free some space, then resume"
            ) from self._failure


def _column(said: list[tuple[int, "Tensor | None"]], labels: bool) -> Any:
    """Returns what was said of one thing at some steps, each with its number of rows; null where it was not."""
    import pyarrow as pa
    import torch

    kind, of = (pa.int16(), torch.int16) if labels else (pa.float32(), torch.float32)
    spoken = [value for _, value in said if value is not None]
    if len(spoken) == len(said):
        return pa.array(torch.cat(spoken).to(of).numpy(), kind)
    parts = [pa.nulls(n, kind) if value is None else pa.array(value.to(of).numpy(), kind) for n, value in said]
    return pa.chunked_array(parts, kind)


def _sent(samples: "Tensor", opinions: "Opinions") -> "tuple[Tensor, Opinions]":
    """Returns them in the processor's memory. A GPU sends them while it goes on, others are waited for."""
    if samples.device.type == "cpu":
        return samples, opinions
    said = {f.name: value for f in fields(opinions) if (value := getattr(opinions, f.name)) is not None}
    here = {name: value.to("cpu", non_blocking=True) for name, value in said.items()}
    return samples.to("cpu", non_blocking=True), replace(opinions, **here)


def _at_once() -> None:
    pass


def _arrival(samples: "Tensor") -> Callable[[], None]:
    """Returns what waits for the copies made so far, from a GPU: they go on after the call that made them."""
    import torch

    wait: Callable[[], None] = torch.cuda.current_stream(samples.device).record_event().synchronize
    return wait
