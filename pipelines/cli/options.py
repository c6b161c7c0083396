"""What the subcommands share: the application they register with, the arguments they have in common, the answer."""

import json as jsonlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg
from tyro.extras import SubcommandApp

from gradebook.pipelines.process.job_files import write_answer

app = SubcommandApp()

Project = Annotated[Positional[Path], arg(metavar="PROJECT", help="the project's directory")]
Json = Annotated[FlagCreatePairsOff[bool], arg(help="answer with JSON on standard output")]
RunName = Annotated[str | None, arg(help="the run's name; without one, the newest that finished")]


def answer(value: dict[str, Any], as_json: bool, words: Callable[[], str]) -> None:
    """Prints what a command found, as JSON or in words for a person, and leaves it with the job that it may be."""
    write_answer(value)
    print(jsonlib.dumps(value, ensure_ascii=False) if as_json else words())
