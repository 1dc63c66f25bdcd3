"""How much a property is tried on: the suite takes a few examples, and `make faults` many."""

from collections.abc import Sequence
from typing import Any

from hypothesis import settings

FEW = settings(max_examples=settings().max_examples // 8)
"""For properties whose examples cost a tenth of a second or more."""


def spread(values: Sequence[Any], place: int, step: int = 8) -> Sequence[Any]:
    """Return one value in `step`, beginning elsewhere for each place; with many examples, all of them."""
    return values if settings().max_examples > 100 else values[place % step :: step]
