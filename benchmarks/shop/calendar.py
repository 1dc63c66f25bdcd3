"""Simulates purchase times: two years in periods of about a week, with weekdays, hours, seasons, sales and growth."""

import calendar
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np

from benchmarks.shop.sampling import Array, drawn, running

FIRST_YEAR: Final = 2023
DAY: Final = 86_400
_STARTS: Final = (1, 9, 17, 24)
"""The days of a month on which its four periods begin."""
_WEEK: Final = np.array([[1.1, 1.1, 1.1, 1.1, 1.2, 0.8, 0.6], [0.6, 0.6, 0.6, 0.7, 1.0, 1.9, 1.6]])
"""Weights of Monday to Sunday, for users who shop on workdays and for users who shop at the weekend."""
_MONTHS: Final = (1.1, 0.8, 0.9, 1.0, 1.05, 1.05, 1.05, 0.85, 0.95, 1.0, 1.35, 1.5)
_SALES: Final = (1, 7)
_GROWTH: Final = 0.15
"""Growth per year."""


class Period(NamedTuple):
    """Part of a month, with a constant catalogue and constant customers."""

    number: int
    year: int
    month: int
    begin: int
    """Epoch seconds, UTC."""
    days: int

    @property
    def end(self) -> int:
        """The first second after the period."""
        return self.begin + self.days * DAY

    @property
    def name(self) -> str:
        """The month, such as 2023-01."""
        return f"{self.year}-{self.month:02}"

    @property
    def sale(self) -> bool:
        """Whether older items are reduced."""
        return self.month in _SALES


def periods(months: int) -> list[Period]:
    """Return the periods of so many months from January 2023, four each."""
    result = []
    for number in range(months):
        year, month = FIRST_YEAR + number // 12, number % 12 + 1
        ends = (*_STARTS[1:], calendar.monthrange(year, month)[1] + 1)
        for quarter, (first, after) in enumerate(zip(_STARTS, ends, strict=True)):
            begin = int(datetime(year, month, first, tzinfo=UTC).timestamp())
            result.append(Period(4 * number + quarter, year, month, begin, after - first))
    return result


def shares(known: Sequence[Period], total: int) -> list[int]:
    """Return the purchases of each period; they add up exactly."""
    weights = [_days(p).sum() * _MONTHS[p.month - 1] * (1 + _GROWTH * p.number / 48) for p in known]
    sums = running(weights)
    return [int(n) for n in np.diff(np.rint(sums / sums[-1] * total).astype("int64"))]


def season(period: Period, peaks: Array) -> Array:
    """Return the seasonal factor of items that sell best in these months (0: no season)."""
    months = period.number % 48 / 4 + 0.125  # since New Year; a month's middle is at its number less a half
    wave = np.cos(2 * np.pi * (months - peaks + 0.5) / 12)
    return np.where(peaks > 0, np.exp(1.3 * wave) / 1.45, 1.0)


def moments(random: np.random.Generator, period: Period, weekend: Array, hour: Array) -> Array:
    """Return a time for each visit (epoch seconds), on the preferred days and around the preferred hour of its user."""
    days = _days(period)
    day = np.empty(len(weekend), dtype="int64")
    for kind in (False, True):
        those = np.flatnonzero(weekend == kind)
        day[those] = drawn(random, running(days[int(kind)]), len(those))
    clock = (hour + random.normal(0.0, 2.2, len(hour))) % 24.0
    result: Array = period.begin + day * DAY + np.minimum((clock * 3600).astype("int64"), DAY - 1)
    return result


def _days(period: Period) -> Array:
    """Return the weights of the days for both kinds of users."""
    thursday = 3  # the weekday of the epoch
    weekdays: Array = _WEEK[:, (period.begin // DAY + thursday + np.arange(period.days)) % 7]
    return weekdays
