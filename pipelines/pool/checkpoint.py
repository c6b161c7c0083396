"""The progress of a pool, saved regularly to a file next to its table, so that a kill loses little.

The file is Parquet: its rows are the images selected so far, its metadata has everything else. Files that cannot be
read are appended to a list, which a resumed pool truncates to its length when the progress was saved.
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

from gradebook.pipelines.pool.top_k import ScoredImage, TopK
from gradebook.storage.csv_cells import escape_cell
from gradebook.storage.files import atomic_path
from gradebook.storage.project import ProjectError

_KEY = b"progress"  # in the metadata


@dataclass(slots=True, kw_only=True)
class Progress:
    """The progress of a pool, which can only be resumed with the same settings. Its fields are the format on disk."""

    settings: dict[str, Any]
    files: int = 0  # image files processed so far
    digest: str = ""  # of their paths, in order
    scored: int = 0  # images that the classifier has scored
    same: int = 0  # left out: the same bytes as a test image
    alike: int = 0  # left out: near-duplicates of a test image
    unsure: int = 0  # below the threshold
    broken: int = 0  # files that cannot be read
    listed: int = 0  # size of the list of those files, in bytes
    kept: list[ScoredImage] = field(default_factory=list)  # the images selected so far


def progress_file(out: Path) -> Path:
    """Returns the path of the file with a table's progress."""
    return out.with_name(f"{out.name}.progress")


def broken_file(out: Path) -> Path:
    """Returns the path of the list of files that cannot be read."""
    return out.with_name(f"{out.name}.broken.csv")


def extend_digest(digest: str, filepaths: Iterable[str]) -> str:
    """Returns the digest of the paths so far and some more."""
    for filepath in filepaths:
        digest = hashlib.blake2b(f"{digest}\n{filepath}".encode(), digest_size=16).hexdigest()
    return digest


def save(progress: Progress, top_k: TopK, out: Path) -> None:
    """Writes the progress."""
    import pyarrow.parquet as pq

    metadata = asdict(progress) | {"kept": []}
    table = as_table(top_k).replace_schema_metadata({_KEY: json.dumps(metadata).encode()})
    with _replacing(progress_file(out)) as draft:
        pq.write_table(table, draft, compression="zstd")


def load(out: Path, settings: dict[str, Any]) -> Progress:
    """Returns the progress of a table, an empty one if nothing was saved.

    Raises:
        ProjectError: the table was started with other settings.
    """
    import pyarrow.parquet as pq

    path = progress_file(out)
    if not path.exists():
        return Progress(settings=settings)
    table = pq.read_table(path)
    progress = Progress(**json.loads(table.schema.metadata[_KEY]))
    differing = [name for name, value in settings.items() if progress.settings.get(name) != value]
    if differing:
        raise ProjectError(
            f"{out} was started with another {', '.join(differing)}: give the same, choose another file, "
            f"or delete {path} to start over"
        )
    progress.kept = [ScoredImage(**row) for row in table.to_pylist()]
    return progress


def as_table(images: Iterable[ScoredImage]) -> Any:
    """Returns a table with the columns filepath, sample_id, label and probability."""
    import pyarrow as pa

    names = ScoredImage.__dataclass_fields__
    rows = [[getattr(image, name) for name in names] for image in images]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    types = [pa.string(), pa.string(), pa.string(), pa.float64()]
    return pa.table({n: pa.array(column, kind) for n, column, kind in zip(names, columns, types, strict=True)})


def write_table(top_k: TopK, out: Path) -> None:
    """Writes the finished table atomically, as CSV or Parquet by its suffix."""
    with _replacing(out) as draft:
        if out.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(as_table(top_k), draft, compression="zstd")
        else:
            with draft.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(ScoredImage.__dataclass_fields__)
                for i in top_k:
                    writer.writerow((escape_cell(i.filepath), i.sample_id, escape_cell(i.label), repr(i.probability)))


def _replacing(path: Path) -> AbstractContextManager[Path]:
    """Returns `atomic_path` with a fixed temporary name. The next pool overwrites it, since `verify` cannot find it."""
    return atomic_path(path, path.with_name(f".{path.name}"))


def truncate_broken_list(progress: Progress, out: Path) -> None:
    """Removes the entries of the list that were added after the progress was saved."""
    path = broken_file(out)
    if path.exists():
        if progress.listed:
            os.truncate(path, progress.listed)
        else:
            path.unlink()


def append_broken(progress: Progress, rows: Sequence[tuple[str, str]], out: Path) -> None:
    """Adds files that cannot be read, each with the error, to their list."""
    if not rows:
        return
    with broken_file(out).open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if not progress.listed:
            writer.writerow(("filepath", "why"))
        writer.writerows(map(escape_cell, row) for row in rows)
        file.flush()
        progress.listed = os.fstat(file.fileno()).st_size
