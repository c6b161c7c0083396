"""Upload of a run's record to an object store, such as s3://bucket/prefix.

A background thread uploads each segment when it is closed, so that training never waits for the network. Segments stay
in the run's directory as well. What is not uploaded when a run ends or is killed is uploaded when the next training of
the project starts.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gradebook.pipelines.process.owner import OWNER
from gradebook.pipelines.process.pids import ProcessId
from gradebook.pipelines.process.progress import say
from gradebook.pipelines.process.run_status import ACTIVE_STATES
from gradebook.pipelines.process.store_claim import owned_at
from gradebook.pipelines.runs import Run, find_run, list_runs
from gradebook.storage import object_store
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.segments import delete_segments_after

if TYPE_CHECKING:
    from gradebook.storage.store import Store

RETRY_INTERVAL_S = 15.0  # after the address did not answer
CLOSE_TIMEOUT_S = 30.0  # at the end of a run, for the remaining segments
SEGMENT = re.compile(r"\.?rank\d+-\d+\.parquet")  # and one that is being written
UNSENT = ".unsent"  # prefix of the file that marks a record as not completely uploaded


class RecordUploader:
    """Uploads one process's segments of one run."""

    def __init__(self, directory: Path, address: str, *, process: int = 0):
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._address = directory, address
        self._pattern, self._mark = f"rank{process}-*.parquet", directory / f"{UNSENT}-{process}"
        self._mark.touch()
        self._uploaded: dict[str, tuple[int, float]] | None = None  # name -> bytes, seconds since 1970
        self._wake, self._closing, self._warned = threading.Event(), threading.Event(), False
        self._wake.set()
        self._thread = threading.Thread(target=self._work, name="record-upload", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Wakes the thread: a segment was closed."""
        self._wake.set()

    def end(self) -> None:
        """Lets the thread upload the remaining segments and end, without waiting for it."""
        self._closing.set()
        self._wake.set()

    def close(self) -> None:
        """Uploads the remaining segments; reports those that could not be uploaded in time."""
        self.end()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._mark.exists():
            say(
                f"not all of the record is at {self._address}: what is missing stays in {self._directory} "
                "and is uploaded when the next training of the project starts"
            )

    def _work(self) -> None:
        while True:
            self._wake.wait(RETRY_INTERVAL_S)
            self._wake.clear()
            last = self._closing.is_set()
            try:
                self._upload()
                if last:
                    self._mark.unlink(missing_ok=True)
            except ProjectError as error:
                if not self._warned:
                    say(f"{error}; training continues, and segments wait in {self._directory}")
                self._warned = True
            except OSError:  # a segment or the directory has been removed meanwhile
                pass
            if last:
                return

    def _upload(self) -> None:
        if self._uploaded is None:
            check_target(self._address)
            self._uploaded = object_store.list_files(self._address)
        for path in sorted(self._directory.glob(self._pattern)):
            stat = path.stat()
            size, at = self._uploaded.get(path.name, (-1, 0.0))
            if size != stat.st_size or at < stat.st_mtime - 1:
                object_store.upload(path, self._address)
                self._uploaded[path.name] = (stat.st_size, time.time())


def run_address(record: str, run: str) -> str:
    """Returns the address of a run's segments, below the one that its settings name."""
    return f"{record.rstrip('/')}/{run}"


@contextmanager
def owned_addresses(project: Project, record: str, run: str, processes: Sequence[ProcessId]) -> Iterator[None]:
    """Makes processes the owners of the object store's addresses to which a run writes, while the block runs.

    Args:
        project: its tables may be at an address, where runs of this name from several directories meet.
        record: the address to which the run's record is uploaded; empty if it is not.
        run: its name.
        processes: first this one, then others that work with it.

    Raises:
        ProjectError: another process owns one of them, the record's has other files, or the tables' does not answer.
    """
    with ExitStack() as until_the_end:
        if record:
            check_target(run_address(record, run))
            with suppress(object_store.Unreachable):  # training continues: the uploader reports it and retries
                until_the_end.enter_context(owned_at(run_address(record, run), processes))
        if project.store:
            until_the_end.enter_context(owned_at(f"{project.store}/runs/{run}", processes))
        yield


def check_target(address: str) -> None:
    """Checks that an address has nothing but segments, if it is a directory of this machine.

    Raises:
        ProjectError: it has other files, as a run from elsewhere may name any directory.
    """
    others = object_store.local_names(address)
    if foreign := sorted(name for name in others if name != OWNER and not SEGMENT.fullmatch(name)):
        raise ProjectError(f"{address} holds other files ({foreign[0]}), so no record is written there: choose another")


def download(directory: Path, address: str) -> int:
    """Downloads the segments that the directory lacks or has in an older version; returns how many.

    Raises:
        ProjectError: the address does not answer.
    """
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, (size, at) in object_store.list_files(address).items():
        path = directory / name
        stat = path.stat() if path.exists() else None
        if stat is None or (stat.st_size != size and stat.st_mtime < at):
            object_store.download(address, name, path)
            os.utime(path, (at, at))
            count += 1
    return count


def download_records(store: "Store", name: str | None, *, progress: Callable[[int, int], None]) -> dict[str, int]:
    """Downloads the record of one run, or of all that upload theirs, into the store; returns each run's new segments.

    Raises:
        ProjectError: there is no such run, it uploads no record, or an address does not answer.
    """
    runs = [find_run(store.project, name)] if name else list_runs(store.project)
    uploading = [(run, record) for run in runs if (record := str(run.config().get("record") or ""))]
    if name and not uploading:
        raise ProjectError(f"the record of {name} is in its own directory: it was trained without --record")
    counts = {}
    for number, (run, record) in enumerate(uploading, 1):
        counts[run.name] = download(run.path / "record", run_address(record, run.name))
        store.record.fold(run.name, run.path / "record")
        progress(number, len(uploading))
    return counts


def truncate_record(directory: Path, address: str, step: int) -> None:
    """Removes the segments with steps after `step`, here and at the address, and downloads the others.

    Raises:
        ProjectError: the address does not answer, or has other files.
    """
    check_target(address)
    download(directory, address)
    object_store.delete(address, delete_segments_after(directory, step))


def start_upload(record: str, path: Path, process: int) -> RecordUploader | None:
    """Starts to upload what a process records of the run in the directory `path`; None without an address.

    The main process also uploads what earlier trainings of the project could not.
    """
    if process == 0:
        _upload_left_over(path.parent, except_for=path.name)
    return RecordUploader(path / "record", run_address(record, path.name), process=process) if record else None


def _upload_left_over(runs: Path, except_for: str) -> None:
    for mark in sorted(runs.glob(f"*/record/{UNSENT}*")):
        run = Run(mark.parent.parent)
        if (
            run.name != except_for
            and run.status().state not in ACTIVE_STATES
            and (record := run.config().get("record"))
        ):
            process = mark.name.removeprefix(f"{UNSENT}-")
            RecordUploader(mark.parent, run_address(record, run.name), process=int(process)).end()
