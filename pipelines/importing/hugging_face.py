"""Reads Hugging Face data sets: `imagefolder` with metadata, data sets saved on disk, and Parquet with images inside.

Images that are in a table are written below the project, once for each source.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradebook.pipelines.importing.source_tables import SourceRow, locate, target, write_rows
from gradebook.pipelines.importing.tables import LABELS, PATHS, Row, find_column, parse_split, read_table
from gradebook.pipelines.importing.zip_archive import MIN_FREE_BYTES, Progress
from gradebook.storage.images import is_image
from gradebook.storage.project import ProjectError

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # of an imagefolder; the first that a folder has
FILE_NAME = "file_name"  # the column that metadata must have
SPLITS, STATE, INFO = "dataset_dict.json", "state.json", "dataset_info.json"  # of a data set saved on disk
KIND = b"huggingface"  # key of the features in a table's schema
SUFFIX_OF = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"RIFF": ".webp",
    b"II*\0": ".tif",
    b"BM": ".bmp",
}


@dataclass(frozen=True, slots=True)
class _Part:
    """A file with rows of a data set."""

    path: Path
    split: str
    features: dict[str, Any]  # by the name of the column; empty where the file itself has them


def is_hugging_face(source: Path) -> bool:
    """Returns whether a folder or file is a data set of Hugging Face with more than folders of images."""
    if source.is_dir():
        saved = (source / SPLITS).is_file() or ((source / STATE).is_file() and (source / INFO).is_file())
        return saved or bool(_metadata(source)) or bool(_parquet_parts(source))
    return source.suffix.lower() == ".parquet" and _image_column(_schema(source)) is not None


def write_table(root: Path, source: Path, progress: Progress | None = None) -> Path:
    """Writes the images, labels and splits of a data set as a table below the project, and returns its path.

    Raises:
        ProjectError: the data set cannot be read.
    """
    if source.is_dir() and (files := _metadata(source)):
        return write_rows(root, source, _folder_rows(files))
    parts = list(_saved_parts(source)) if source.is_dir() else [_Part(source, "", {})]
    return write_rows(root, source, _unpacked_rows(root, source, parts or _parquet_parts(source), progress))


def _metadata(source: Path) -> list[Path]:
    """Returns the metadata files of an imagefolder: of the folder itself, or of its splits."""
    folders = [source, *(path for path in sorted(source.iterdir()) if parse_split(path.name) and path.is_dir())]
    files = (next(filter(_names_files, (folder / name for name in METADATA)), None) for folder in folders)
    return [file for file in files if file is not None]


def _names_files(path: Path) -> bool:
    """Returns whether a file is such metadata: another program's file may have the same name."""
    if path.suffix == ".parquet":
        return FILE_NAME in _schema(path).names
    try:
        with path.open(encoding="utf-8-sig") as file:
            return FILE_NAME in file.readline()
    except (OSError, UnicodeDecodeError):
        return False


def _folder_rows(files: list[Path]) -> Iterator[SourceRow]:
    for file in files:
        split = file.parent.name if parse_split(file.parent.name) else ""
        for row in read_table(file, labels=False):
            yield _folder_row(file, row, split)


def _folder_row(file: Path, row: Row, split: str) -> SourceRow:
    filepath = locate([row.filepath], [file.parent])
    top = Path(row.filepath).parts[0] if row.filepath else ""
    return SourceRow(filepath, row.label, row.split or split or (top if parse_split(top) else ""), row.by)


def _saved_parts(source: Path) -> Iterator[_Part]:
    """Yields the parts of a data set that `datasets` has saved on disk."""
    if (source / SPLITS).is_file():
        for split in _read_json(source / SPLITS).get("splits", []):
            yield from _split_parts(source / str(split), str(split))
    elif (source / STATE).is_file():
        yield from _split_parts(source, "")


def _split_parts(folder: Path, split: str) -> Iterator[_Part]:
    features = _read_json(folder / INFO).get("features") or {}
    for file in _read_json(folder / STATE).get("_data_files", []):
        yield _Part(folder / Path(file["filename"]).name, split, features)


def _parquet_parts(source: Path) -> list[_Part]:
    """Returns the Parquet files of a folder that have images inside; their split is the beginning of their names."""
    files = sorted([*source.glob("*.parquet"), *source.glob("data/*.parquet")]) if source.is_dir() else []
    parts = [_Part(path, path.name.partition("-")[0].partition(".")[0], {}) for path in files]
    return parts if parts and all(_image_column(_schema(part.path)) for part in parts) else []


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProjectError(f"{path} cannot be read ({error}): save the data set again") from error
    if not isinstance(content, dict):
        raise ProjectError(f"{path} is not a JSON object: save the data set again")
    return content


def _unpacked_rows(root: Path, source: Path, parts: list[_Part], progress: Progress | None) -> list[SourceRow]:
    """Writes the images in the parts below the project; they appear there together."""
    needed = sum(part.path.stat().st_size for part in parts)
    folder = target(root, source)
    if needed > shutil.disk_usage(root).free - MIN_FREE_BYTES:
        raise ProjectError(f"{source} holds {needed / 2**30:.1f} GiB, for which {root} has no room: free some space")
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    rows: list[SourceRow] = []
    try:
        for number, part in enumerate(parts):
            rows += _part_rows(part, source, draft / f"{part.split or 'images'}-{number:04d}")
            if progress is not None:
                progress(number + 1, len(parts))
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    moved = {str(draft): str(folder)}
    return [_moved(row, moved) for row in rows]


def _moved(row: SourceRow, moved: dict[str, str]) -> SourceRow:
    for before, after in moved.items():
        if row.filepath.startswith(before):
            return SourceRow(after + row.filepath.removeprefix(before), row.label, row.split, row.by)
    return row


def _part_rows(part: _Part, source: Path, folder: Path) -> Iterator[SourceRow]:
    folder.mkdir()
    number = 0
    for batch in _batches(part.path):
        features = part.features or _features(batch.schema)
        image = _image_column(batch.schema)
        if image is None:
            raise ProjectError(f"{part.path} has no column of images: it needs one called image")
        column = find_column(batch.schema.names, LABELS)
        label = None if column is None else batch.schema.names[column]
        names = (features.get(label or "") or {}).get("names")
        values = batch.column(label).to_pylist() if label else [None] * len(batch)
        for cell, value in zip(batch.column(image).to_pylist(), values, strict=True):
            number += 1
            yield SourceRow(_image_file(cell, folder, number, source), _label(value, names), part.split)


def _batches(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            yield from pq.ParquetFile(path).iter_batches(batch_size=256)
            return
        with pa.memory_map(str(path)) as file:
            yield from pa.ipc.open_stream(file)
    except (OSError, pa.ArrowException) as error:
        raise ProjectError(f"{path} cannot be read ({error}): save the data set again") from error


def _schema(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException):
        return pa.schema([])  # the import says what is wrong with it


def _image_column(schema: Any) -> str | None:
    """Returns the column that holds images: bytes, or bytes and a path as `datasets` writes them."""
    import pyarrow as pa

    for name in PATHS:
        if name in schema.names:
            kind = schema.field(name).type
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                return name
            if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                return name
    return None


def _features(schema: Any) -> dict[str, Any]:
    try:
        features = json.loads((schema.metadata or {})[KIND])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _image_file(cell: Any, folder: Path, number: int, source: Path) -> str:
    """Writes the bytes of an image into a file, or finds the file that is named in their place."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    name = str(cell.get("path") or "") if isinstance(cell, dict) else ""
    if content is None:
        return locate([name or f"row {number}"], [source if source.is_dir() else source.parent])
    suffix = (
        Path(name).suffix
        if is_image(Path(name))
        else next((suffix for start, suffix in SUFFIX_OF.items() if content.startswith(start)), ".png")
    )
    path = folder / f"{number:07d}{suffix}"
    path.write_bytes(content)
    return str(path)


def _label(value: Any, names: Any) -> str:
    if value is None or value == -1:  # the latter is how `datasets` writes that there is none
        return ""
    if isinstance(value, int) and isinstance(names, list) and 0 <= value < len(names):
        return str(names[value])
    return str(value)
