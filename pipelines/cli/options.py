"""What the subcommands share: the application they register with, common arguments, and how a result is printed."""

import json as jsonlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg
from tyro.extras import SubcommandApp

from gradebook.pipelines.process.job_files import write_answer

app = SubcommandApp()

Flag = FlagCreatePairsOff[bool]  # --name alone, without a --no-name
Project = Annotated[Positional[Path], arg(metavar="PROJECT", help="the project's directory")]
Json = Annotated[Flag, arg(help="print the result as JSON")]
RunName = Annotated[str | None, arg(help="the run's name; by default the newest finished run")]
EveryRun = Annotated[str | None, arg(help="the run's name; by default every run")]


def print_result(result: dict[str, Any], as_json: bool, text: Callable[[], str]) -> None:
    """Prints a command's result, as JSON or as text, and writes it to the job's files if the command is a job."""
    write_answer(result)
    print_rows(result, as_json, text)


def print_rows(rows: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Prints a result that no job waits for."""
    print(jsonlib.dumps(rows, ensure_ascii=False) if as_json else text())
