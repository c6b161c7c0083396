"""Files at an address of fsspec, such as s3://bucket/prefix. An object store cannot append: files are whole objects.

Every function raises `Unreachable`, a `ProjectError` of one sentence, if the address cannot be reached or used.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gradebook.storage.files import atomic_path
from gradebook.storage.install_advice import install_command
from gradebook.storage.project import ProjectError

S3_CONFIG = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}  # timeouts in seconds


class Unreachable(ProjectError):  # noqa: N818
    """An address cannot be reached or used."""


def list_files(address: str, ending: str = ".parquet") -> dict[str, tuple[int, float]]:
    """Returns the files directly below an address: name -> size in bytes, time of writing in seconds since 1970."""
    with readable_errors(address):
        fs, root = _open(address)
        fs.invalidate_cache()
        try:
            rows = fs.ls(root, detail=True)
        except FileNotFoundError:
            _check_bucket(fs, root)
            return {}
        files = {row["name"].rsplit("/", 1)[-1]: row for row in rows if row["type"] == "file"}
        return {
            name: (int(row["size"]), _seconds(fs.modified(row["name"])))
            for name, row in sorted(files.items())
            if name.endswith(ending) and not name.startswith(".")
        }


def upload(path: Path, address: str) -> None:
    """Uploads a file below an address under its own name, and replaces one that is there."""
    with readable_errors(address):
        fs, root = _open(address)
        fs.makedirs(root, exist_ok=True)
        temporary = f"{root}/.{path.name}" if _is_local(fs) else f"{root}/{path.name}"
        fs.put_file(str(path), temporary)
        if _is_local(fs):
            fs.mv(temporary, f"{root}/{path.name}")


def download(address: str, name: str, path: Path) -> None:
    """Downloads a file from below an address to a path, atomically."""
    with atomic_path(path) as temporary, readable_errors(address):
        fs, root = _open(address)
        fs.get_file(f"{root}/{name}", str(temporary))


def delete(address: str, names: Iterable[str]) -> None:
    """Deletes files below an address. Those that do not exist are ignored."""
    with readable_errors(address):
        fs, root = _open(address)
        fs.invalidate_cache()
        for name in names:
            if fs.exists(f"{root}/{name}"):
                fs.rm_file(f"{root}/{name}")


def create_exclusive(address: str, name: str, content: bytes) -> bool:
    """Creates a file below an address unless it exists; returns whether this call created it."""
    with readable_errors(address):
        fs, root = _open(address)
        fs.invalidate_cache()
        path = f"{root}/{name}"
        if fs.exists(path):
            return False
        if _is_local(fs):
            fs.makedirs(root, exist_ok=True)
        with suppress(FileExistsError):
            fs.pipe_file(path, content, mode="create")
        return bool(read(address, name) == content)  # also where a store has no exclusive creation


def read(address: str, name: str) -> bytes | None:
    """Returns the content of a file below an address, None if there is none."""
    with readable_errors(address):
        fs, root = _open(address)
        fs.invalidate_cache()
        try:
            return bytes(fs.cat_file(f"{root}/{name}"))
        except FileNotFoundError:
            return None


def rewrite(address: str, name: str, content: bytes) -> None:
    """Writes a file that is below an address again as it is, so that its time of writing is new."""
    with readable_errors(address):
        fs, root = _open(address)
        if _is_local(fs):
            fs.touch(f"{root}/{name}", truncate=False)
        else:
            fs.pipe_file(f"{root}/{name}", content)


def written_at(address: str, name: str) -> float | None:
    """Returns when a file below an address was written, in seconds since 1970; None if there is none."""
    with readable_errors(address):
        fs, root = _open(address)
        fs.invalidate_cache()
        try:
            return _seconds(fs.modified(f"{root}/{name}"))
        except FileNotFoundError:
            return None


def local_names(address: str) -> list[str]:
    """Returns what is in the directory of this machine that an address names; nothing for any other address."""
    with readable_errors(address):
        fs, root = _open(address)
        return [path.name for path in Path(root).iterdir()] if _is_local(fs) and Path(root).is_dir() else []


@contextmanager
def readable_errors(address: str) -> Iterator[None]:
    """Turns the errors of an object store into one sentence.

    Raises:
        Unreachable: the block failed.
    """
    try:
        yield
    except Unreachable:
        raise
    except ImportError as error:
        raise Unreachable(
            f"{address} needs a package that is not installed: {install_command('s3')} ({error})"
        ) from error
    except PermissionError as error:
        raise Unreachable(f"{address} denies access ({_short(error)}): check the key and its permissions") from error
    except Exception as error:  # each object store has errors of its own
        raise Unreachable(
            f"{address} cannot be reached ({_short(error)}): check the address, the network and AWS_ENDPOINT_URL"
        ) from error


def _open(address: str) -> tuple[Any, str]:
    import fsspec

    options: dict[str, Any] = {"config_kwargs": S3_CONFIG} if address.startswith(("s3://", "s3a://")) else {}
    fs, root = fsspec.core.url_to_fs(address, **options)
    return fs, str(root).rstrip("/")


def _check_bucket(fs: Any, root: str) -> None:
    """Raises FileNotFoundError if the bucket does not exist; an empty prefix looks like a missing one."""
    bucket = root.split("/", 1)[0]
    if bucket and not _is_local(fs) and not fs.exists(bucket):
        raise FileNotFoundError(f"there is no bucket {bucket}")


def _is_local(fs: Any) -> bool:
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def _seconds(time: Any) -> float:
    return float(time.timestamp())


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
