"""Whether the app starts a session with the first verdict. It does unless this is switched off for the project.

The environment variable `GRADEBOOK_LEARN=off` switches it off for all projects, as on a server that only labels.
"""

import os

from gradebook.pipelines.session.lock import DIRECTORY, live_session
from gradebook.storage.project import Project, ProjectError
from gradebook.storage.store import tables_of

VARIABLE = "GRADEBOOK_LEARN"
OFF = "off"  # value of the variable, and the name of the file that switches the project off


def is_switched_off(project: Project) -> bool:
    """Returns whether sessions of a project start only on request."""
    return os.environ.get(VARIABLE) == OFF or (project.root / DIRECTORY / OFF).exists()


def switch(project: Project, *, on: bool) -> None:
    """Remembers for a project whether sessions start by themselves.

    Raises:
        OSError: the project cannot be written.
    """
    path = project.root / DIRECTORY / OFF
    if on:
        path.unlink(missing_ok=True)
    else:
        path.parent.mkdir(exist_ok=True)
        path.touch()


def may_start(project: Project) -> bool:
    """Returns whether a session may start by itself now: none is live, it is not switched off, the disk is writable."""
    if is_switched_off(project) or tables_of(project).is_read_only():
        return False
    try:
        return live_session(project) is None
    except ProjectError:
        return False
