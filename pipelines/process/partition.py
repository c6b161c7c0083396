"""Work in parts: each process does one part, on any machine, independently of the others."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from gradebook.storage.project import ProjectError

Part = tuple[int, int]  # K of N parts, K from 1
WHOLE: Part = (1, 1)
Item = TypeVar("Item")


def parse_part(text: str) -> Part:
    """Returns the part of a text such as "3/16".

    Raises:
        ProjectError: the text is not a part.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match and 1 <= int(match[1]) <= int(match[2]):
        return int(match[1]), int(match[2])
    raise ProjectError(f"--part {text} must be K/N, the K-th of N parts, from 1/N to N/N: 3/16")


def of_part(items: Iterable[Item], part: Part) -> Iterator[Item]:
    """Yields every N-th item from the K-th on: over all parts, each item once."""
    number, parts = part
    return islice(items, number - 1, None, parts)
