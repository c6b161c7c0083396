"""The number of the repetition: `python -m tests.attack` repeats the tests, at other moments and places each time."""

import os

ROUND = "GRADEBOOK_ATTACK_ROUND"


def current_round() -> int:
    """Returns the number of the repetition, 0 where the tests run by themselves."""
    return int(os.environ.get(ROUND, "0"))
