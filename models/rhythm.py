"""How often somebody buys something, in words."""

from typing import Final

_UNITS: Final = (("month", 365.25 / 12, 2.0), ("week", 7.0, 0.8), ("day", 1.0, 0.0))
"""Each with its days, and from how many of it on it is spoken of."""


def how_often(days: float) -> str:
    """`every 3 weeks` for a gap of so many days from one time to the next."""
    unit, length = next((name, size) for name, size, least in _UNITS if days >= least * size)
    times = max(1, round(days / length))
    return f"every {unit}" if times == 1 else f"every {times} {unit}s"
