"""Move the SQL of feature tables from one moment to another: to write it takes a quarter of a second.

Features use their moment in comparisons and differences alone. So SQL has it as a number, beside numbers at fixed
distances from it.
"""

import re
from typing import Final

from models.primitives.time import DAY

MOMENT: Final = 2_000_000_000
"""The moment for which SQL is written (epoch s), in 2033."""
_NEAR: Final = 1_000 * DAY
"""Numbers as near to it are computed from it. Features look back for a year at most."""
_NUMBER: Final = re.compile(r"(?<![\w.])\d{10}(?!\w)")


def moved(text: str, moment: int) -> str:
    """Return SQL, or a name in it, that was written for `MOMENT` as it is for another moment (epoch s)."""

    def number(found: re.Match[str]) -> str:
        distance = int(found[0]) - MOMENT
        return str(moment + distance) if abs(distance) <= _NEAR else found[0]

    return _NUMBER.sub(number, text)
