"""What works on Linux and macOS alone: it is refused elsewhere in a sentence, before anything is begun."""

import sys

from gradebook.storage.project import ProjectError

IS_WINDOWS = sys.platform == "win32"


def check_system(what: str, instead: str) -> None:
    """Checks that this is Linux or macOS.

    Args:
        what: needs it, in the plural.
        instead: what to do on Windows.

    Raises:
        ProjectError: this is Windows.
    """
    if IS_WINDOWS:
        raise ProjectError(f"{what} work on Linux and macOS only: {instead}, or use the Windows Subsystem for Linux")
