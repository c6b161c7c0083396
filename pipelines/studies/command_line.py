"""The command lines of studies and benchmarks: their options, and the line that says how a table was made."""

import platform
import sys
from collections.abc import Sequence
from datetime import date
from typing import Any, TypeVar

from gradebook.pipelines.process.progress import silence_libraries

Options = TypeVar("Options")


def read_options(
    kind: type[Options], program: str, about: str | None, arguments: Sequence[str] | None
) -> tuple[Options, list[str]]:
    """Reads the options of a study.

    Args:
        kind: a dataclass of options.
        program: the study's file name.
        about: the text of its help.
        arguments: the command line's; None takes those of this process.

    Returns:
        The options, and the arguments as they were given, for `footer`.
    """
    import tyro

    silence_libraries()
    given = list(sys.argv[1:] if arguments is None else arguments)
    return tyro.cli(kind, args=given, prog=program, description=about), given


def footer(program: str, given: Sequence[str]) -> str:
    """Returns the line below a table: the command that made it, the date and the machine.

    Args:
        program: as `python` is given it: a path, or `-m` and a module.
        given: the arguments.
    """
    return f"`{' '.join(['python', program, *given])}`, {date.today()}, {machine()}"


def machine() -> str:
    """Returns the machine that a table was made on."""
    import os

    import torch

    device: Any = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return f"{platform.machine()}, {device}, torch {torch.__version__}"
