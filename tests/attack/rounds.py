"""How often an attack is made: `python -m tests.attack` does so in rounds, at other moments and places each time."""

import os

ROUND = "GRADEBOOK_ATTACK_ROUND"
ROUNDS_OF_ALL = 3  # rounds that together try as much as the tests do by themselves


def current_round() -> int:
    """Returns the number of the round, 0 where the tests run by themselves."""
    return int(os.environ.get(ROUND, "0"))


def in_round(attempts: int) -> int:
    """Returns how many of the attempts to make: all where the tests run by themselves, a third in a round."""
    return -(-attempts // ROUNDS_OF_ALL) if ROUND in os.environ else attempts


def is_in_round(number: int) -> bool:
    """Returns whether an attempt is made: always where the tests run by themselves, else in one round of three."""
    return ROUND not in os.environ or number % ROUNDS_OF_ALL == current_round() % ROUNDS_OF_ALL
