"""What a user can correct is one sentence, whichever library says it; what is our bug keeps its traceback."""

import errno
import json

import pyarrow as pa
import pytest

from gradebook.pipelines.process.errors import FAILED, exit_with_message

FULL = [
    OSError(errno.ENOSPC, "No space left on device", "model.onnx"),
    RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    RuntimeError("lance error: LanceError(IO): File too large (os error 27), /x.rs:1:1"),
]
DAMAGED = [
    pa.ArrowInvalid("Couldn't deserialize thrift:\nTProtocolException: Invalid data"),
    RuntimeError("lance error: Encountered corrupt file variable width data block"),
    json.JSONDecodeError("Expecting value", "", 0),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
]


def sentence(error: Exception, capsys) -> str:
    with pytest.raises(SystemExit) as end, exit_with_message():
        raise error
    assert end.value.code == FAILED
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("error", FULL, ids=repr)
def test_a_full_disk(error, capsys):
    line = sentence(error, capsys)
    assert line.startswith("gradebook: no space left to write to ") and line.endswith("free some, then do it again")


@pytest.mark.parametrize("error", DAMAGED, ids=repr)
def test_a_damaged_file(error, capsys):
    line = sentence(error, capsys)
    assert line.startswith("gradebook: a file cannot be read (") and "gradebook verify PROJECT" in line


def test_a_bug_keeps_its_traceback():
    with pytest.raises(KeyError), exit_with_message():
        raise KeyError("a")
