"""`gradebook forget` removes what was deleted on purpose from the catalogue or the record."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradebook.storage.cache_files import delete_cached
from gradebook.storage.catalog import GONE
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import File

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def forget(store: "Store", below: Path, *, dry_run: bool = False) -> list[str]:
    """Removes the missing files at or below a path from the catalogue, or a missing run from the record.

    A sample that no other file holds is no longer shown or trained on, and its thumbnail and squares are deleted. Its
    events stay in the log, and importing the file again brings it back. Files that exist are left alone.

    Returns:
        The paths of what was removed, or would be with `dry_run`.

    Raises:
        ProjectError: nothing was imported from there, or all of it exists.
    """
    path = below.expanduser().absolute()
    if _is_missing_run(store, path):
        if not dry_run:
            store.record.forget(path.name)
        return [str(path)]
    listed = [Path(file.filepath) for file in store.catalog.files()]
    files = [file for file in listed if file == path or file.is_relative_to(path)]
    missing = [str(file) for file in files if not file.exists()]
    if not files:
        raise ProjectError(
            f"nothing was imported from {path}: gradebook verify {store.project.root} lists the missing files"
        )
    if not missing:
        raise ProjectError(f"all {len(files)} files of {path} exist: delete those that you do not want, then forget it")
    if not dry_run:
        ids = store.catalog.ids()
        store.catalog.add([], [File(filepath=file, sample_id=GONE, size=0, mtime_ns=0) for file in missing])
        delete_cached(store.project, set(ids) - {file.sample_id for file in store.catalog.files()})
    return missing


def _is_missing_run(store: "Store", path: Path) -> bool:
    """Returns whether a path is that of a run which the record has, but whose directory is gone."""
    return path.parent == store.project.runs and not path.exists() and path.name in store.record.runs()
