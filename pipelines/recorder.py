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

from storage.segments import SAID, segment_schema

if TYPE_CHECKING:
    from torch import Tensor

    from mpl.step import Opinions

ROWS = 200_000  # rows of a segment at most
_HELD = 64  # steps that may wait for the disk before training waits too


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What was said at a step."""

    rows: "tuple[int, Tensor, Opinions]"
    arrived: Callable[[], None]  # waits until the tensors are here


class Recorder:
    """Writes one process's segments, `rank0-000001.parquet` and following, into a directory."""

    def __init__(self, directory: Path, classes: Sequence[str], sample_ids: Sequence[str], *, process: int = 0):
        directory.mkdir(parents=True, exist_ok=True)
        for draft in directory.glob(f".rank{process}-*.tmp"):
            draft.unlink()
        self._directory, self._process, self._ids = directory, process, sample_ids
        self._schema = segment_schema(classes)
        self._rows: list[tuple[int, Tensor, Opinions]] = []
        self._inbox: queue.Queue[_Said | threading.Event | None] = queue.Queue(_HELD)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def put(self, step: int, samples: "Tensor", opinions: "Opinions") -> None:
        """Hands over what was said at a step of the samples at these positions (U,).

        Raises:
            OSError: an earlier segment could not be written.
        """
        self._check()
        columns = {
            f.name: value.to("cpu", non_blocking=True) if (value := getattr(opinions, f.name)) is not None else None
            for f in fields(opinions)
        }
        rows = (step, samples.to("cpu", non_blocking=True), replace(opinions, **columns))
        self._inbox.put(_Said(rows=rows, arrived=_arrival(samples)))

    def flush(self) -> None:
        """Ends the open segment and returns when it is on disk.

        Raises:
            OSError: it could not be written.
        """
        written = threading.Event()
        self._inbox.put(written)
        written.wait()
        self._check()

    def close(self) -> None:
        """Ends the open segment and the thread; call it once."""
        self._inbox.put(None)
        self._thread.join()
        self._check()

    def _work(self) -> None:
        while True:
            message = self._inbox.get()
            try:
                if isinstance(message, _Said) and self._failure is None:
                    message.arrived()
                    self._rows.append(message.rows)
                if not isinstance(message, _Said) or sum(len(ids) for _, ids, _ in self._rows) >= ROWS:
                    self._write()
            except BaseException as failure:
                self._failure = failure
            if isinstance(message, threading.Event):
                message.set()
            if message is None:
                return

    def _write(self) -> None:
        if not self._rows or self._failure is not None:
            return
        import pyarrow.parquet as pq

        numbers = [int(path.stem.split("-")[1]) for path in self._directory.glob(f"rank{self._process}-*.parquet")]
        name = f"rank{self._process}-{max(numbers, default=0) + 1:06d}"
        draft = self._directory / f".{name}.tmp"
        pq.write_table(self._table(), draft, compression="zstd")
        draft.rename(self._directory / f"{name}.parquet")
        self._rows = []

    def _table(self) -> Any:
        import numpy as np
        import pyarrow as pa

        steps = np.concatenate([np.full(len(ids), step, np.int32) for step, ids, _ in self._rows])
        positions = np.concatenate([ids.numpy() for _, ids, _ in self._rows])
        used, codes = np.unique(positions, return_inverse=True)
        names = pa.array([self._ids[position] for position in used], pa.string())
        columns: dict[str, Any] = {
            "step": pa.array(steps),
            "sample_id": pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), names),
        }
        for name in SAID:
            kind = self._schema.field(name).type
            columns[name] = pa.chunked_array([self._column(name, k, kind) for k in range(len(self._rows))])
        return pa.table([columns[name] for name in self._schema.names], schema=self._schema)

    def _column(self, name: str, k: int, kind: Any) -> Any:
        import pyarrow as pa

        _, ids, opinions = self._rows[k]
        value = getattr(opinions, name)
        if value is None:
            return pa.nulls(len(ids), kind)
        return pa.array(value.float().numpy() if value.is_floating_point() else value.numpy()).cast(kind)

    def _check(self) -> None:
        if self._failure is not None:
            raise OSError(
                f"the record cannot be written to {self._directory} ({self._failure}): free some space, then resume"
            ) from self._failure


def _arrival(samples: "Tensor") -> Callable[[], None]:
    """Returns what waits for the copies made so far: those from a GPU go on after the call that made them."""
    if not samples.is_cuda:
        return lambda: None
    import torch

    wait: Callable[[], None] = torch.cuda.current_stream(samples.device).record_event().synchronize
    return wait


def cut_after(directory: Path, step: int) -> None:
    """Takes away the segments that hold steps after `step`: a run that resumes there writes them again."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in directory.glob("*.parquet"):
        steps = pq.read_table(path, columns=["step"])["step"]
        if pc.max(steps).as_py() > step:
            path.unlink()
