"""`python supervisor.py DIRECTORY COMMAND...` runs a command and writes its exit status to DIRECTORY/exit.

The process that started the command may have ended by then. This one runs as long as the command. To stay small, it
imports only the standard library, and writes its file without `gradebook.storage.files`.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path


def main(directory: Path, command: list[str]) -> None:
    """Runs the command to its end. Ctrl-C and SIGTERM are for the command, not for this process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignore)  # unlike SIG_IGN, a handler is not inherited by the command
    try:
        code = subprocess.call(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"cannot run {command[0]}: {error}", file=sys.stderr)
        code = 127
    temporary = directory / f".exit.{os.getpid()}"
    temporary.write_text(f"{code}\n", encoding="utf-8")
    temporary.replace(directory / "exit")


def _ignore(number: int, frame: object) -> None:
    pass


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
