"""What a mutation is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """One way to be wrong."""

    name: str
    file: str  # below mpl/
    old: str
    new: str
