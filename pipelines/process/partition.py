"""Work in parts: each process, on whatever machine, does one, and none has to know of the others."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from gradebook.storage.project import ProjectError

Part = tuple[int, int]  # which of how many, from 1
WHOLE: Part = (1, 1)
Thing = TypeVar("Thing")


def parse_part(text: str) -> Part:
    """Returns the part that "3/16" names.

    Raises:
        ProjectError: it names none.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found and 1 <= int(found[1]) <= int(found[2]):
        return int(found[1]), int(found[2])
    raise ProjectError(f"--part {text} must be K/N, the K-th of N parts, from 1/N to N/N: 3/16")


def of_part(things: Iterable[Thing], part: Part) -> Iterator[Thing]:
    """Yields every N-th thing from the K-th on: over all parts, each thing once."""
    which, parts = part
    return islice(things, which - 1, None, parts)
