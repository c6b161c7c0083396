"""What the subcommands share: the application they register with, common arguments, and how a result is printed."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg
from tyro.extras import SubcommandApp

from gradebook.pipelines.process.errors import FAILED
from gradebook.pipelines.process.job_files import write_answer
from gradebook.pipelines.process.progress import say
from gradebook.pipelines.process.terminal import json_text, safe_text
from gradebook.storage.project import ProjectError

if TYPE_CHECKING:
    from gradebook.pipelines.runs import Run
    from gradebook.storage.project import Project as OpenProject

app = SubcommandApp()

Flag = FlagCreatePairsOff[bool]  # --name alone, without a --no-name
Project = Annotated[Positional[Path], arg(metavar="PROJECT", help="the project's directory")]
Json = Annotated[Flag, arg(help="print the result as JSON")]
RunName = Annotated[str | None, arg(metavar="NAME", help="the run's name, or best; by default the newest finished run")]
EveryRun = Annotated[str | None, arg(metavar="NAME", help="the run's name, or best; by default every run")]


def print_result(result: dict[str, Any], as_json: bool, text: Callable[[], str]) -> None:
    """Prints a command's result, as JSON or as text, and writes it to the job's files if the command is a job."""
    write_answer(result)
    print_rows(result, as_json, text)


def print_rows(rows: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Prints a result that no job waits for."""
    print(json_text(rows) if as_json else safe_text(text()))


def status_of(is_done: bool, sentence: str) -> int:
    """Returns a command's exit status: 0 if it did something, or else 2, after printing why it did nothing."""
    if is_done:
        return 0
    say(f"gradebook: {sentence}")
    return FAILED


def choose_run(project: "OpenProject", name: str | None) -> "Run":
    """Returns the run to use, and prints its name if it was chosen among several."""
    from gradebook.pipelines.runs import BEST, find_run, list_runs, validation_accuracy

    run = find_run(project, name)
    if name == BEST and run.name != BEST:
        score = validation_accuracy(run)
        say(f"the best run by validation accuracy is {run.name}" + ("" if score is None else f" ({score:.1%})"))
    elif name is None and len(list_runs(project)) > 1:
        say(f"using {run.name}, the newest finished run; --run best uses the one with the best validation accuracy")
    return run


def confirm(text: str, question: str, *, otherwise: str) -> None:
    """Shows what will be done and asks on the terminal.

    Args:
        text: what will be done.
        question: which yes answers.
        otherwise: the state without a yes, such as "nothing is deleted".

    Raises:
        ProjectError: the answer is no, or there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise ProjectError(
            f"{otherwise}, because there is no terminal to ask on: give --yes to continue without a question"
        )
    say(text)
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ProjectError(f"{otherwise}, because the answer was not yes: answer y to continue")
