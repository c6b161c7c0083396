"""The record of a run at an address such as s3://bucket/prefix: its segments are sent there as they are closed.

A thread of its own sends them, so that training waits for no network. Segments stay in the run's directory as well;
what has not been sent when a run ends, or is killed, goes at the next start of a training in the project.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gradebook.pipelines.process.progress import say
from gradebook.pipelines.runs import ACTIVE_STATES, Run, find_run, list_runs
from gradebook.storage import object_store
from gradebook.storage.project import ProjectError
from gradebook.storage.segments import delete_segments_after

if TYPE_CHECKING:
    from gradebook.storage.store import Store

RETRY_INTERVAL_S = 15.0  # seconds between two tries where an address does not answer
CLOSE_TIMEOUT_S = 30.0  # seconds that the end of a run waits for what is left
UNSENT = ".unsent"  # in a record's directory while something may not have been sent


class RecordUploader:
    """Sends one process's segments of one run."""

    def __init__(self, directory: Path, address: str, *, process: int = 0):
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._address = directory, address
        self._pattern, self._mark = f"rank{process}-*.parquet", directory / f"{UNSENT}-{process}"
        self._mark.touch()
        self._there: dict[str, tuple[int, float]] | None = None
        self._news, self._over, self._said = threading.Event(), threading.Event(), False
        self._news.set()
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Says that a segment was closed."""
        self._news.set()

    def end(self) -> None:
        """Lets the thread send what is there and end; waits for nothing."""
        self._over.set()
        self._news.set()

    def close(self) -> None:
        """Waits a while for what is left, and says what stays behind."""
        self.end()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._mark.exists():
            say(
                f"not all of the record is at {self._address}: what is missing stays in {self._directory} "
                "and is sent when the next training of the project starts"
            )

    def _work(self) -> None:
        while True:
            self._news.wait(RETRY_INTERVAL_S)
            self._news.clear()
            last = self._over.is_set()
            try:
                self._send()
                if last:
                    self._mark.unlink(missing_ok=True)
            except ProjectError as error:
                if not self._said:
                    say(f"{error}; training goes on, and segments wait in {self._directory}")
                self._said = True
            except OSError:  # a segment was taken away meanwhile, or the directory was
                pass
            if last:
                return

    def _send(self) -> None:
        if self._there is None:
            self._there = object_store.list_files(self._address)
        for path in sorted(self._directory.glob(self._pattern)):
            stat = path.stat()
            size, at = self._there.get(path.name, (-1, 0.0))
            if size != stat.st_size or at < stat.st_mtime - 1:
                object_store.upload(path, self._address)
                self._there[path.name] = (stat.st_size, time.time())


def run_address(record: str, run: str) -> str:
    """Returns where a run's segments are, of the place that its settings name."""
    return f"{record.rstrip('/')}/{run}"


def download(directory: Path, address: str) -> int:
    """Brings the segments that are at an address and not in the directory, or newer there; returns how many.

    Raises:
        ProjectError: the address does not answer.
    """
    directory.mkdir(parents=True, exist_ok=True)
    brought = 0
    for name, (size, at) in object_store.list_files(address).items():
        path = directory / name
        stat = path.stat() if path.exists() else None
        if stat is None or (stat.st_size != size and stat.st_mtime < at):
            object_store.download(address, name, path)
            os.utime(path, (at, at))
            brought += 1
    return brought


def download_records(store: "Store", name: str | None, *, progress: Callable[[int, int], None]) -> dict[str, int]:
    """Fetches and folds the record of one run, or of all that send it somewhere; returns the new segments of each.

    Raises:
        ProjectError: there is no such run, it sends its record nowhere, or an address does not answer.
    """
    runs = [find_run(store.project, name)] if name else list_runs(store.project)
    sent = [(run, record) for run in runs if (record := str(run.config().get("record") or ""))]
    if name and not sent:
        raise ProjectError(f"the record of {name} is in its own directory: it was trained without --record")
    brought = {}
    for number, (run, record) in enumerate(sent, 1):
        brought[run.name] = download(run.path / "record", run_address(record, run.name))
        store.record.fold(run.name, run.path / "record")
        progress(number, len(sent))
    return brought


def truncate_record(directory: Path, address: str, step: int) -> None:
    """Takes the segments away that hold steps after `step`, here and there, and brings the others here.

    Raises:
        ProjectError: the address does not answer, so that what is there cannot be taken back.
    """
    download(directory, address)
    object_store.delete(address, delete_segments_after(directory, step))


def start_upload(record: str, path: Path, process: int) -> RecordUploader | None:
    """Begins to send what a process records of the run in the directory `path`, None where it stays here.

    The main process also sends what earlier trainings of the project could not.
    """
    if process == 0:
        _send_left_over(path.parent, but=path.name)
    return RecordUploader(path / "record", run_address(record, path.name), process=process) if record else None


def _send_left_over(runs: Path, but: str) -> None:
    for mark in sorted(runs.glob(f"*/record/{UNSENT}*")):
        run = Run(mark.parent.parent)
        if run.name != but and run.status().state not in ACTIVE_STATES and (record := run.config().get("record")):
            process = mark.name.removeprefix(f"{UNSENT}-")
            RecordUploader(mark.parent, run_address(record, run.name), process=int(process)).end()
