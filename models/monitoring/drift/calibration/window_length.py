"""Chooses the length of a window: the shortest one with enough users, a day or whole weeks."""

from collections.abc import Mapping
from typing import Final

from models.monitoring.drift.calibration.calibrate import MIN_WINDOWS, TooLittleHistoryError
from models.monitoring.drift.calibration.windows import windows_before

LENGTHS: Final = (1, 7, 14, 28)
"""Days."""
_MOST: Final = 64
"""Most windows of a calibration, because older ones may be unusual now."""


def windows_needed(window_days: int) -> int:
    """Return the windows that a calibration needs, with the reference time before the first one."""
    return MIN_WINDOWS + 2 * windows_before(window_days)


def windows_used(days: int, window_days: int) -> int:
    """Return how many windows of a history in days are used."""
    return min(days // window_days, _MOST + 2 * windows_before(window_days))


def ensure_enough_history(days: int, window_days: int) -> None:
    """Raise TooLittleHistoryError if the days are too few for windows of a configured length."""
    if days // window_days < windows_needed(window_days):
        raise _too_little(days, window_days * windows_needed(window_days), f" in windows of {window_days} days")


def _too_little(days: int, least: int, how: str = "") -> TooLittleHistoryError:
    return TooLittleHistoryError(
        f"There are {max(0, days)} days of events before the champion's cut, and a calibration needs at least {least} "
        f"days{how}: the monitor starts once there are that many."
    )


def choose_length(days: int, users: Mapping[int, float], least_users: float) -> int:
    """Return the shortest window length with enough active users, else the longest one that the history allows.

    `users` has the mean active users by length, `days` is the length of the history. Raises TooLittleHistoryError if
    the history allows no length.
    """
    possible = [length for length in LENGTHS if days // length >= windows_needed(length)]
    if not possible:
        raise _too_little(days, min(length * windows_needed(length) for length in LENGTHS))
    enough = [length for length in possible if users.get(length, 0.0) >= least_users]
    return min(enough) if enough else max(possible)
