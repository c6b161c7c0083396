"""Files at an address that fsspec knows, such as s3://bucket/prefix: whole objects, for an object store cannot append.

Where it cannot be reached, or says no, every function here raises one sentence.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradebook.storage.files import atomic_path
from gradebook.storage.project import ProjectError

PATIENCE = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}  # seconds; of S3


def is_address(place: str) -> bool:
    """Returns whether a place is an address with a scheme rather than a path."""
    return "://" in place


def list_files(address: str, ending: str = ".parquet") -> dict[str, tuple[int, float]]:
    """Returns the files right below an address: name -> bytes, and seconds since 1970 at which it was written."""
    with readable_errors(address):
        fs, root = _opened(address)
        fs.invalidate_cache()
        try:
            rows = fs.ls(root, detail=True)
        except FileNotFoundError:
            _there(fs, root)
            return {}
        found = {row["name"].rsplit("/", 1)[-1]: row for row in rows if row["type"] == "file"}
        return {
            name: (int(row["size"]), _seconds(fs.modified(row["name"])))
            for name, row in sorted(found.items())
            if name.endswith(ending) and not name.startswith(".")
        }


def upload(path: Path, address: str) -> None:
    """Puts a file below an address under its own name, whole or not at all, over one that is there."""
    with readable_errors(address):
        fs, root = _opened(address)
        fs.makedirs(root, exist_ok=True)
        draft = f"{root}/.{path.name}" if _is_a_disk(fs) else f"{root}/{path.name}"
        fs.put_file(str(path), draft)
        if _is_a_disk(fs):
            fs.mv(draft, f"{root}/{path.name}")


def download(address: str, name: str, path: Path) -> None:
    """Copies a file from below an address to a path, whole or not at all."""
    with atomic_path(path) as temporary, readable_errors(address):
        fs, root = _opened(address)
        fs.get_file(f"{root}/{name}", str(temporary))


def delete(address: str, names: Iterable[str]) -> None:
    """Deletes files below an address; those that are not there are fine."""
    with readable_errors(address):
        fs, root = _opened(address)
        fs.invalidate_cache()
        for name in names:
            if fs.exists(f"{root}/{name}"):
                fs.rm_file(f"{root}/{name}")


@contextmanager
def readable_errors(address: str) -> Iterator[None]:
    """Says in one sentence what an object store did not do.

    Raises:
        ProjectError: something failed inside.
    """
    try:
        yield
    except ImportError as error:
        raise ProjectError(f"{address} needs a package that is not installed: uv sync --extra s3 ({error})") from error
    except PermissionError as error:
        raise ProjectError(f"{address} may not be used ({_short(error)}): check the key and what it allows") from error
    except Exception as error:  # each object store has errors of its own
        raise ProjectError(
            f"{address} cannot be reached ({_short(error)}): check the address, the network and AWS_ENDPOINT_URL"
        ) from error


def _opened(address: str) -> tuple[Any, str]:
    import fsspec

    options: dict[str, Any] = {"config_kwargs": PATIENCE} if address.startswith(("s3://", "s3a://")) else {}
    fs, root = fsspec.core.url_to_fs(address, **options)
    return fs, str(root).rstrip("/")


def _there(fs: Any, root: str) -> None:
    """Raises FileNotFoundError where not even the bucket is there: an empty prefix cannot be told from none."""
    bucket = root.split("/", 1)[0]
    if bucket and not _is_a_disk(fs) and not fs.exists(bucket):
        raise FileNotFoundError(f"there is no bucket {bucket}")


def _is_a_disk(fs: Any) -> bool:
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def _seconds(moment: Any) -> float:
    return float(moment.timestamp())


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
