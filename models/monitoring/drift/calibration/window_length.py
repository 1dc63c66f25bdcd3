"""How long a window is: as short as what happens in it can be told from chance, and in whole weeks or by weekday."""

from collections.abc import Mapping
from typing import Final

from models.monitoring.drift.calibration.calibrate import MIN_WINDOWS, TooLittleHistoryError
from models.monitoring.drift.calibration.windows import windows_before

LENGTHS: Final = (1, 7, 14, 28)
"""Days."""
_MOST: Final = 64
"""Windows to learn from: what was usual longer ago need not be usual now."""


def windows_needed(window_days: int) -> int:
    """Windows that a calibration needs: those that it learns from, and the time before the first of them."""
    return MIN_WINDOWS + 2 * windows_before(window_days)


def windows_used(days: int, window_days: int) -> int:
    """How many windows of so many days of history are used."""
    return min(days // window_days, _MOST + 2 * windows_before(window_days))


def ensure_enough_history(days: int, window_days: int) -> None:
    """Raises TooLittleHistoryError when so many days are too few for windows of a length that somebody chose."""
    if days // window_days < windows_needed(window_days):
        raise _too_little(days, window_days * windows_needed(window_days), f" in windows of {window_days} days")


def _too_little(days: int, least: int, how: str = "") -> TooLittleHistoryError:
    return TooLittleHistoryError(
        f"There are {max(0, days)} days of events before the champion's cut, and what is usual is learned from {least} "
        f"days at least{how}: drift is watched once there are as many."
    )


def choose_length(days: int, users: Mapping[int, float], least_users: float) -> int:
    """The shortest length whose windows have enough active users; `users` are their mean number by length, `days` is
    how long the history is. Where none has enough, the longest that there is history for.

    Raises TooLittleHistoryError when there is none.
    """
    possible = [length for length in LENGTHS if days // length >= windows_needed(length)]
    if not possible:
        raise _too_little(days, min(length * windows_needed(length) for length in LENGTHS))
    enough = [length for length in possible if users.get(length, 0.0) >= least_users]
    return min(enough) if enough else max(possible)
