"""Households that the running shop has not seen: their events make another data set."""

from typing import Final

_FIRST: Final = 201
_MANY: Final = 12
"""The fewest households of which some have demographics; without any, the file of users would be refused."""
_CUTS: Final = 180


def new_households(number: int) -> tuple[int, int]:
    """Return the first and the last id of a cut of the data; the storms have numbers of their own."""
    first = _FIRST + _MANY * (number % _CUTS)
    return first, first + _MANY - 1
