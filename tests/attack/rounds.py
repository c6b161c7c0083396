"""How often an attack is made: the tests make a third of the attempts, `python -m tests.attack` all, round by round."""

import os

ROUND = "GRADEBOOK_ATTACK_ROUND"
ROUNDS_OF_ALL = 3  # rounds that together make every attempt


def current_round() -> int:
    """Returns the number of the round, 0 where the tests run by themselves."""
    return int(os.environ.get(ROUND, "0"))


def in_round(attempts: int) -> int:
    """Returns how many of the attempts to make in one round."""
    return -(-attempts // ROUNDS_OF_ALL)


def is_in_round(number: int) -> bool:
    """Returns whether an attempt is made in this round."""
    return number % ROUNDS_OF_ALL == current_round() % ROUNDS_OF_ALL
