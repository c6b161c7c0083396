"""`python supervisor.py DIRECTORY COMMAND...` runs a command and writes its exit status to DIRECTORY/exit.

A file, because whoever started the command may be gone when it ends. This process stays until the command does.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path


def main(directory: Path, command: list[str]) -> None:
    """Runs the command to its end; Ctrl-C and a polite stop are for the command, not for us."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _let_pass)  # a handler is not inherited; an ignored signal would be
    try:
        code = subprocess.call(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"cannot run {command[0]}: {error}", file=sys.stderr)
        code = 127
    draft = directory / f".exit.{os.getpid()}"
    draft.write_text(f"{code}\n", encoding="utf-8")
    draft.replace(directory / "exit")


def _let_pass(number: int, frame: object) -> None:
    pass


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
