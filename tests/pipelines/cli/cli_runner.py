"""The command line, called as another program would."""

import contextlib
import io
import json
from dataclasses import dataclass
from typing import Any

from gradebook.pipelines.cli.main import main


@dataclass(frozen=True)
class Completed:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def gradebook(*arguments: object) -> Completed:
    """Calls the command as a program whose standard error is no terminal."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Completed(status, out.getvalue(), err.getvalue())


def done(*arguments: object) -> Completed:
    result = gradebook(*arguments)
    assert result.status == 0, result.err
    return result


def refused(*arguments: object) -> str:
    """Returns the one sentence of a command that cannot be done."""
    result = gradebook(*arguments)
    assert result.status == 2
    assert result.out == ""
    assert result.err.startswith("gradebook: ") and len(result.err.splitlines()) == 1, result.err
    return result.err
