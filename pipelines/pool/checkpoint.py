"""How far a pool has come, in one file beside its table: whole or not there, so that a kill loses minutes at most.

The images that are kept so far are the rows of a Parquet file; all else stands in its metadata. Files that cannot be
used go to a list of their own as they are met, which is cut back to where the progress was saved.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gradebook.pipelines.pool.top_k import Kept, Surest
from gradebook.storage.files import atomic_path
from gradebook.storage.project import ProjectError

_KEY = b"progress"


@dataclass(slots=True, kw_only=True)
class Progress:
    """What has been done of a pool, to be gone on with under the same settings alone."""

    settings: dict[str, Any]
    files: int = 0  # image files met
    digest: str = ""  # of their paths, in order
    scored: int = 0  # images that the classifier has seen
    same: int = 0  # left out: the bytes of a test image
    alike: int = 0  # left out: near-duplicates of a test image
    unsure: int = 0  # below the threshold
    broken: int = 0  # files that cannot be used
    listed: int = 0  # bytes of the list of those
    kept: list[Kept] = field(default_factory=list)  # as it was saved


def progress_file(out: Path) -> Path:
    """Returns where the progress of a table is kept."""
    return out.with_name(f"{out.name}.progress")


def broken_file(out: Path) -> Path:
    """Returns where the files that cannot be used are listed."""
    return out.with_name(f"{out.name}.broken.csv")


def digest_with(digest: str, filepaths: Iterable[str]) -> str:
    """Returns the digest of the paths so far with some more."""
    for filepath in filepaths:
        digest = hashlib.blake2b(f"{digest}\n{filepath}".encode(), digest_size=16).hexdigest()
    return digest


def save(progress: Progress, surest: Surest, out: Path) -> None:
    """Writes how far it has come."""
    import pyarrow.parquet as pq

    told = asdict(progress) | {"kept": []}
    table = as_table(surest).replace_schema_metadata({_KEY: json.dumps(told).encode()})
    with _replacing(progress_file(out)) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def load(out: Path, settings: dict[str, Any]) -> Progress:
    """Returns how far the table has come, from the beginning where nothing was saved.

    Raises:
        ProjectError: it was begun with other settings.
    """
    import pyarrow.parquet as pq

    path = progress_file(out)
    if not path.exists():
        return Progress(settings=settings)
    table = pq.read_table(path)
    progress = Progress(**json.loads(table.schema.metadata[_KEY]))
    others = [name for name, value in settings.items() if progress.settings.get(name) != value]
    if others:
        raise ProjectError(
            f"{out} was begun with another {', '.join(others)}: give the same again, or another file, "
            f"or delete {path} to start over"
        )
    progress.kept = [Kept(**row) for row in table.to_pylist()]
    return progress


def as_table(kept: Iterable[Kept]) -> Any:
    """Returns a table with the columns filepath, sample_id, label and probability."""
    import pyarrow as pa

    names = Kept.__dataclass_fields__
    rows = [[getattr(image, name) for name in names] for image in kept]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    kinds = [pa.string(), pa.string(), pa.string(), pa.float64()]
    return pa.table({n: pa.array(c, kind) for n, c, kind in zip(names, columns, kinds, strict=True)})


def write(surest: Surest, out: Path) -> None:
    """Writes the finished table, as CSV or Parquet by how its name ends, whole or not at all."""
    with _replacing(out) as temporary:
        if out.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(as_table(surest), temporary, compression="zstd")
        else:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerow(Kept.__dataclass_fields__)
                rows.writerows((k.filepath, k.sample_id, k.label, repr(k.probability)) for k in surest)


def _replacing(path: Path) -> AbstractContextManager[Path]:
    """Like `atomic_path`, always under the same name: `verify` does not look here, so the next job overwrites it."""
    return atomic_path(path, path.with_name(f".{path.name}"))


def cut_list(progress: Progress, out: Path) -> None:
    """Takes away what was listed after the progress was saved."""
    path = broken_file(out)
    if path.exists():
        if progress.listed:
            os.truncate(path, progress.listed)
        else:
            path.unlink()


def list_broken(progress: Progress, rows: Sequence[tuple[str, str]], out: Path) -> None:
    """Adds files that cannot be used, and why, to their list."""
    if not rows:
        return
    with broken_file(out).open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if not progress.listed:
            writer.writerow(("filepath", "why"))
        writer.writerows(rows)
        file.flush()
        progress.listed = os.fstat(file.fileno()).st_size
