"""Makes a project for a folder of images, and starts the background jobs that import and embed them."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from gradebook.pipelines.jobs import commands
from gradebook.pipelines.jobs.launcher import JobState
from gradebook.pipelines.process.progress import say
from gradebook.storage.project import SETTINGS, Project, ProjectError, create_project, read_project

DEMO = "digits"  # the project's directory in that of a demo


def start_project(images: Path, root: Path | None, classes: Sequence[str]) -> Project:
    """Returns the project of these images, and starts the jobs that it still needs.

    A new project is made beside the images. An import that was not finished starts again, and so do embeddings.

    Args:
        images: a folder, or another source of images that `gradebook import` takes.
        root: the project's directory; None for one beside the images.
        classes: their names; those that an existing project lacks are added.

    Raises:
        ProjectError: there is nothing at `images`, the project would be among the images, or cannot be made.
    """
    images = images.expanduser().resolve()
    if not images.exists():
        raise ProjectError(f"there is nothing at {images}: give a folder of images")
    root = (root or images.with_name(f"{images.stem if images.is_file() else images.name}-project")).expanduser()
    if (root / SETTINGS).exists():
        project = read_project(root)
        if classes:
            project = _with_classes(project, classes)
        say(f"opening the project {project.root}")
    else:
        project = _create(root, images, classes)
        say(f"created the project {project.root}; the images stay where they are")
    _start_jobs(project, images)
    return project


def start_demo(directory: Path) -> Project:
    """Returns a project of handwritten digits in a directory, with three labels for each, and starts their import.

    The project of an earlier call is returned as it is now.

    Raises:
        ProjectError: the directory has files that are not from a demo.
    """
    from gradebook.pipelines.demo import ALL_LABELS, MARKER, empty_directory, write_digits

    root = directory.expanduser().resolve() / DEMO
    if (root / SETTINGS).exists() and (root.parent / MARKER).exists():
        return read_project(root)
    images = empty_directory(directory) / "images"
    write_digits(images)
    project = create_project(root, [str(digit) for digit in range(10)])
    commands.start_import(project, images, labels=str(images / ALL_LABELS), split="train", embed=True)
    return project


def _with_classes(project: Project, classes: Sequence[str]) -> Project:
    from gradebook.pipelines.curation.class_changes import add_missing
    from gradebook.pipelines.curation.labelling import actor
    from gradebook.storage.store import open_store

    return add_missing(open_store(project.root), classes, actor=actor())


def _create(root: Path, images: Path, classes: Sequence[str]) -> Project:
    if root.resolve().is_relative_to(images):
        raise ProjectError(
            f"{root} is among the images, and a project must not be there: choose another directory with --project DIR"
        )
    try:
        return create_project(root, classes)
    except OSError as error:
        raise ProjectError(
            f"{root} cannot be created ({error.strerror}): choose another directory with --project DIR"
        ) from error


def _start_jobs(project: Project, images: Path) -> None:
    """Starts the import of the images, which starts their embedding at its end, unless both are done or running."""
    jobs = {name: commands.newest(project, name) for name in ("import", "embed")}
    states = {name: None if job is None else commands.job_state(job) for name, job in jobs.items()}
    if JobState.RUNNING in states.values():
        return
    arguments = () if jobs["import"] is None else commands.command_of(jobs["import"])[1:2]
    if states["import"] is not JobState.DONE or arguments != (str(images),):
        commands.start_import(project, images, labels="none", split="train", embed=True)
        return
    if states["embed"] is not JobState.DONE:
        commands.start_embed(project, None)
    again = shlex.join(["gradebook", "import", str(project.root), str(images), "--embed"])
    say(f"if images have been added since, import them with: {again}")
