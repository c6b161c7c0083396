"""Opens projects, and creates them from a folder of images."""

from collections.abc import Sequence
from pathlib import Path

from gradebook.api.project import AnyPath, Project
from gradebook.pipelines.process.errors import project_errors
from gradebook.storage.project import ProjectError, create_project


@project_errors()
def open_project(path: AnyPath) -> Project:
    """Opens a project.

    Raises:
        ProjectError: there is none in the directory.
    """
    return Project(path)


@project_errors()
def create(
    path: AnyPath, images: AnyPath | None = None, classes: Sequence[str] = (), *, labels: str = "none"
) -> Project:
    """Makes a project, and imports images.

    Args:
        path: its directory, which must not be among the images.
        images: what `Project.import_images` takes; None imports nothing yet.
        classes: their names. Without any, an import with labels adds those that occur.
        labels: as `Project.import_images` takes them.

    Raises:
        ProjectError: there is a project already, a class name is invalid, or the images cannot be imported.
    """
    if isinstance(classes, str):
        raise ProjectError(f"classes is {classes!r}: give a list of names")
    if images is not None:
        _check_exists(images)
    create_project(Path(path), list(classes))
    project = Project(path)
    if images is not None:
        project.import_images(images, labels=labels)
    return project


def _check_exists(images: AnyPath) -> None:
    """Checks that there is something to import before a project is made for it."""
    from gradebook.pipelines.importing.fiftyone_datasets import PREFIX

    path = Path(images).expanduser()
    if not str(images).startswith(PREFIX) and not path.exists():
        raise ProjectError(f"there is nothing at {path}: give a folder of images, or another source of images")
