"""Files that were deleted on purpose: they leave the catalogue, so that nothing asks for them any more."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradebook.storage.cache_files import delete_cached
from gradebook.storage.catalog import GONE
from gradebook.storage.project import ProjectError
from gradebook.storage.samples import File

if TYPE_CHECKING:
    from gradebook.storage.store import Store


def forget(store: "Store", below: Path, *, dry_run: bool = False) -> list[str]:
    """Takes the files at or below a path that are no longer there off the catalogue, and returns their paths.

    A sample that no other file holds is trained on and shown no more, and its thumbnail and squares are deleted. What
    was said of it stays in the log, and importing the file again brings it back. Files that are there are left alone.

    Raises:
        ProjectError: nothing was imported from there, or all of it is there.
    """
    place = below.expanduser().absolute()
    listed = [Path(file.filepath) for file in store.catalog.files()]
    found = [path for path in listed if path == place or path.is_relative_to(place)]
    missing = [str(path) for path in found if not path.exists()]
    if not found:
        raise ProjectError(
            f"nothing was imported from {place}: gradebook verify {store.project.root} names what is gone"
        )
    if not missing:
        raise ProjectError(f"all {len(found)} files of {place} are there: delete what you do not want, then forget it")
    if not dry_run:
        known = store.catalog.ids()
        store.catalog.add([], [File(filepath=path, sample_id=GONE, size=0, mtime_ns=0) for path in missing])
        delete_cached(store.project, set(known) - {file.sample_id for file in store.catalog.files()})
    return missing
