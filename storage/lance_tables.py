"""LanceDB tables in one directory: readers never wait, writers take turns, and small files are compacted regularly."""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gradebook.storage import partial_writes, table_checksums
from gradebook.storage.compaction import ALL_VERSIONS_TTL, compact
from gradebook.storage.files import is_disk_full
from gradebook.storage.project import ProjectError

LOCK = ".write.lock"
LOCK_TIMEOUT_S = 120.0  # of waiting for the write lock
COMPACTION_INTERVAL = 64  # versions; without compaction, 300 appends leave 900 files and make reads 8 times slower
CLIENT_OPTIONS = {"connect_timeout": "5s", "timeout": "60s", "client_max_retries": "2", "client_retry_timeout": "20"}
MAX_TABLES = 10_000  # listed tables
LOGGER = logging.getLogger(__name__)


class Tables:
    """The tables in a directory, which is created by the first write, or at an address on an object store.

    Concurrent writers of a LanceDB table can starve each other, so writers hold a lock file. It is in the directory
    even if the tables are at an address, because all writers of a store run on one machine.
    """

    def __init__(self, directory: Path, address: str = ""):
        self.directory, self.address = directory, address
        self._connection: Any = None
        self._opened: set[str] = set()  # tables, whose last write was whole when they were opened first
        self._lock = FileLock(directory / LOCK, poll_interval=0.01)

    def open(self, name: str) -> Any | None:
        """Returns the newest version of a table, None if nothing was ever written to it."""
        if not self.address and not self.directory.is_dir():  # connecting would create it
            return None
        if name not in self._opened:
            self._opened.add(name)
            self._recover(name)
        try:
            return self._connect().open_table(name)
        except Exception as error:  # LanceDB has many for damaged files, and panics too
            if isinstance(error, ValueError) and "was not found" in str(error):
                return None
            raise self._unread(name, error) from error

    def read(self, name: str, columns: Sequence[str], where: str | None = None, *, after: int = 0) -> Any | None:
        """Returns the rows as a `pyarrow.Table` in the order in which they were added, None if there is no table.

        Args:
            name: the table.
            columns: which of its columns.
            where: a condition in SQL.
            after: number of rows to skip.

        Raises:
            ProjectError: the table is damaged, or cannot be reached.
        """
        try:
            return self._read(name, columns, where, after)
        except ProjectError:
            if not self._recover(name):  # a process was killed since the table was opened first
                raise
            return self._read(name, columns, where, after)

    def _read(self, name: str, columns: Sequence[str], where: str | None, after: int) -> Any | None:
        table = self.open(name)
        if table is None:
            return None
        query = table.search().select(list(columns))
        query = query if where is None else query.where(where)
        try:
            return (query.offset(after) if after else query).to_arrow()
        except Exception as error:  # LanceDB has many for damaged files, and panics too
            raise self._unread(name, error) from error

    def _recover(self, name: str) -> bool:
        """Takes back a table's last write if a killed process left it incomplete; returns whether it did.

        A process that holds the write lock checks its own writes.
        """
        path = self.directory / f"{name}.lance"
        if self.address or not path.is_dir():
            return False
        try:
            if not partial_writes.cut_files(path, table_checksums.read(path)):
                return False
            with self._lock.acquire(timeout=0):
                is_recovered = partial_writes.recover(path, table_checksums.read(path))
        except (Timeout, OSError):  # a writer is at work, or the directory is read-only
            return False
        if is_recovered:
            self._connection = None  # it remembers the version that was taken back
            LOGGER.warning(
                "a process was killed while it wrote to the table %s in %s, and what it left was not whole: "
                "it was taken back; nothing that was acknowledged as saved is lost",
                name,
                self.directory,
            )
        return is_recovered

    def stamp(self, names: Sequence[str]) -> str | None:
        """Returns a string that every write to these tables changes, None at an address. Does not load LanceDB."""
        if self.address:
            return None
        digest = hashlib.blake2b(digest_size=16)
        for name in names:
            versions = self.directory / f"{name}.lance" / "_versions"
            if versions.is_dir():  # a version is a file there, named by its number
                newest = [*sorted(path.name for path in versions.iterdir()), versions.stat().st_mtime_ns]
                digest.update(f"{name} {newest} ".encode())
        return digest.hexdigest()

    def damaged(self, *, whole: bool) -> dict[str, str]:
        """Returns the tables that cannot be read, with the error. Reads one column of each file, or all if `whole`.

        A table without a first version, which a kill can leave, is intact: it has no rows, and the next write creates
        it.
        """
        damaged = {}
        for path in self._paths():
            try:
                table = self.open(path.stem)
                if table is None and (self.address or any(path.glob("data/*"))):
                    damaged[path.stem] = "it has rows, but no version that lists them"
                elif table is not None:
                    names = table.schema.names
                    for _ in table.search().select(names if whole else names[:1]).to_batches():
                        pass
            except Exception as error:  # LanceDB has many, and panics too
                damaged[path.stem] = str(error.__cause__ or error).split(", /", 1)[0]
        return damaged

    def rolled_back(self) -> list[str]:
        """Returns the tables on this disk whose newest version is missing; LanceDB silently reads the previous one."""
        return [path.stem for path in ([] if self.address else self._paths()) if _newest(path) < _newest_written(path)]

    def corrupt_files(self) -> dict[str, list[Path]]:
        """Returns the files on this disk that do not match their checksums, by table. Reads every file."""
        corrupt = {path.stem: table_checksums.corrupt_files(path) for path in ([] if self.address else self._paths())}
        return {name: files for name, files in corrupt.items() if files}

    def drop(self, name: str) -> None:
        """Deletes a table, readable or not."""
        with self.write_lock():
            if any(path.stem == name for path in self._paths()):
                self._connect().drop_table(name)
            if not self.address:
                table_checksums.forget(self.directory / f"{name}.lance")

    def is_read_only(self) -> bool:
        """Returns whether the directory of the tables, or of their lock, cannot be written to."""
        return self.directory.is_dir() and not os.access(self.directory, os.W_OK)

    def _paths(self) -> list[Path]:
        """Returns the directories of all tables in order of their names, readable or not."""
        if not self.address:
            return sorted(self.directory.glob("*.lance"))
        try:
            return [Path(f"{name}.lance") for name in sorted(self._connect().table_names(limit=MAX_TABLES))]
        except (OSError, RuntimeError, ValueError) as error:
            raise self._as_readable(error) from error

    def _unread(self, name: str, error: Exception) -> Exception:
        """Returns a readable error if a table is damaged or cannot be reached."""
        known = self._as_readable(error)
        if isinstance(known, ProjectError):
            return known
        reason = str(error).strip().partition("\n")[0][:200]
        return ProjectError(
            f"the table {name} in {self.directory} cannot be read ({reason}): "
            f"gradebook verify {self.directory.parent} says what can be done"
        )

    def _as_readable(self, error: Exception) -> Exception:
        """Returns a readable error for tables at an address that cannot be reached, else the error itself."""
        if not self.address or isinstance(error, ProjectError):
            return error
        line = str(error).strip().partition("\n")[0][:200]
        return ProjectError(
            f"the store at {self.address} cannot be reached ({line}): "
            "check its address in gradebook.json, the network, and the AWS_ variables"
        )

    @contextmanager
    def write_lock(self) -> Iterator[None]:
        """Holds the write lock: what is read inside the block stays valid until its end. Blocks may be nested.

        Raises:
            ProjectError: another process holds the lock for more than two minutes, or the disk is full.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with self._lock.acquire(LOCK_TIMEOUT_S):
                yield
        except Timeout as error:
            raise ProjectError(
                f"another process has been writing to {self.directory} for {LOCK_TIMEOUT_S:.0f} s: "
                "wait for it, or stop it"
            ) from error
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, ProjectError) or not is_disk_full(error):
                raise self._as_readable(error) from error
            raise ProjectError(
                f"the disk is full, so {self.directory} cannot be written: free some space and try again; "
                "everything written before is intact"
            ) from error

    @contextmanager
    def open_for_writing(self, name: str, schema: Any) -> Iterator[Any]:
        """Yields a table to write to under the lock, created if there is none; compacts it afterwards if it is due."""
        path = None if self.address else self.directory / f"{name}.lance"
        with self.write_lock():
            self._recover(name)
            if path is not None and not path.exists():
                table_checksums.forget(path)
            known = set() if path is None else partial_writes.list_files(path)
            table = self._connect().create_table(name, schema=schema, exist_ok=True)
            before = table.version
            try:
                yield table
            finally:
                if path is not None:
                    self._check_new(path, known)
            if table.version // COMPACTION_INTERVAL > before // COMPACTION_INTERVAL:
                known = set() if path is None else partial_writes.list_files(path)
                compact(table, ALL_VERSIONS_TTL)
                with suppress(OSError):  # the disk is full: the table stays as it was before
                    if path is not None:
                        self._check_new(path, known)
                    compact(table)  # only once the new files are known to be whole
            if path is not None:
                with suppress(OSError):  # the next write makes up for it
                    table_checksums.note(path)

    def _check_new(self, path: Path, known: set[Path]) -> None:
        """Checks that what was written since is whole, see `partial_writes.check_new`."""
        try:
            partial_writes.check_new(path, known)
        except OSError:
            self._connection = None  # it remembers the version that was taken back
            raise

    def _connect(self) -> Any:
        if self._connection is None:
            os.environ.setdefault("LANCEDB_LOG", "error")  # it warns about every table that it creates
            import lancedb

            # With an interval of zero every read sees what other processes wrote; by default no read does.
            self._connection = lancedb.connect(
                self.address or self.directory,
                read_consistency_interval=timedelta(0),
                storage_options=_options() if self.address else None,
            )
        return self._connection


def _options() -> dict[str, str]:
    """Returns the options of an object store: the endpoint from AWS's variables, and short timeouts."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    insecure = {"allow_http": "true"} if endpoint.startswith("http://") else {}
    return {**({"endpoint": endpoint} if endpoint else {}), **insecure, **CLIENT_OPTIONS}


def _newest(table: Path) -> int:
    """Returns the newest version in a table's directory, 0 if there is none."""
    return max(map(partial_writes.version_of, table.glob("_versions/*.manifest")), default=0)


def _newest_written(table: Path) -> int:
    """Returns the newest version according to LanceDB's hint file in a table's directory, 0 if there is none."""
    try:
        return int(json.loads((table / "_versions" / "latest_version_hint.json").read_text())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def one_of(column: str, values: Iterable[str]) -> str:
    """Returns the SQL condition that `column` is one of `values`, which must not be empty."""
    return f"{column} IN ({', '.join(quoted(value) for value in values)})"


def quoted(value: str) -> str:
    """Returns `value` as an SQL string."""
    return "'" + value.replace("'", "''") + "'"
