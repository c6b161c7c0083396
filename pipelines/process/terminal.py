"""Makes text from elsewhere, such as names of files and classes, safe to print on a terminal."""

import json
import sys
from io import TextIOWrapper
from typing import Any

from gradebook.storage.characters import escaped, escaped_json


def prepare_streams() -> None:
    """Makes a terminal that cannot show a character show its escape sequence instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def safe_text(text: str) -> str:
    """Returns a text of several lines that moves no cursor and changes no colour: control characters are escaped."""
    return escaped(text, keep="\n")


def json_text(value: Any) -> str:
    """Returns a value as JSON on one line, in characters that standard output can encode."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return escaped_json(json.dumps(value, ensure_ascii=not utf8))
