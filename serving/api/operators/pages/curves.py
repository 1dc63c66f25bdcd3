"""Draws weeks of figures as small plots, whose points a template puts into SVG, and writes amounts and shares."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Final

from serving.operations.reports import EarnedWeek

WIDTH, HEIGHT = 300, 70
"""Of a plot; its SVG is stretched to the width of the page."""
_ROOM: Final = 4.0
_WEEK: Final = timedelta(weeks=1)
_Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A plot of weeks, from 0 to the greatest value."""

    top: float
    first: date
    last: date
    bars: Sequence[tuple[float, float, float, float]] = ()
    """By x, y, width and height."""
    lines: Sequence[str] = ()
    """Points of lines: weeks without a value interrupt them."""
    bands: Sequence[str] = ()
    """Corners of the intervals around the lines."""


def value_curve(weeks: Sequence[EarnedWeek]) -> Curve:
    """Return a bar for each week: the value of purchases after a click."""
    top = max(week.value for week in weeks)
    slot = WIDTH / _places(weeks)
    sizes = ((_number(week, weeks) * slot, week.value / (top or 1.0) * HEIGHT) for week in weeks)
    bars = [
        (round(x + slot * 0.15, 1), round(HEIGHT - high, 1), round(slot * 0.7, 1), round(high, 1)) for x, high in sizes
    ]
    return Curve(top, weeks[0].week, weeks[-1].week, bars)


def click_curve(weeks: Sequence[EarnedWeek]) -> Curve:
    """Return the click-through of each week as a line, with its intervals as a band."""
    shown = [week for week in weeks if week.click_through is not None]
    top = max((week.high or week.click_through or 0.0 for week in shown), default=0.0)

    def at(week: EarnedWeek, value: float | None) -> _Point:
        x = _ROOM + (_number(week, weeks) + 0.5) / _places(weeks) * (WIDTH - 2 * _ROOM)
        return x, HEIGHT - (value or 0.0) / (top or 1.0) * (HEIGHT - _ROOM)

    lines = [_points(at(week, week.click_through) for week in run) for run in _runs(shown)]
    bands = [
        _points([*(at(week, week.high) for week in run), *(at(week, week.low) for week in reversed(run))], wide=True)
        for run in _runs([week for week in shown if week.high is not None])
    ]
    return Curve(top, weeks[0].week, weeks[-1].week, (), lines, bands)


def days_curve(days: Sequence[tuple[date, float, float]]) -> Curve:
    """Return the metric of the control and of a variant as two lines."""
    first, span = days[0][0], max((days[-1][0] - days[0][0]).days, 1)
    top = max(max(control, value) for _, control, value in days)

    places = [_ROOM + (when - first).days / span * (WIDTH - 2 * _ROOM) for when, _, _ in days]
    scale = (HEIGHT - _ROOM) / (top or 1.0)
    _, *both = zip(*days, strict=True)
    lines = [_points((x, HEIGHT - value * scale) for x, value in zip(places, one, strict=True)) for one in both]
    return Curve(top, first, days[-1][0], (), lines)


def _number(week: EarnedWeek, weeks: Sequence[EarnedWeek]) -> int:
    return (week.week - weeks[0].week) // _WEEK


def _places(weeks: Sequence[EarnedWeek]) -> int:
    return _number(weeks[-1], weeks) + 1


def _runs(weeks: Sequence[EarnedWeek]) -> Iterator[list[EarnedWeek]]:
    """Yield weeks that follow each other."""
    for _, run in groupby(enumerate(weeks), lambda one: one[1].week - one[0] * _WEEK):
        yield [week for _, week in run]


def _points(points: Iterable[_Point], *, wide: bool = False) -> str:
    """Return the points as SVG has them. A single week is as wide as a dash."""
    found = list(points)
    if len(found) == (2 if wide else 1):
        (x, y), (_, below) = found[0], found[-1]
        found = [(x - _ROOM, y), (x + _ROOM, y), *([(x + _ROOM, below), (x - _ROOM, below)] if wide else ())]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in found)


def day(when: date) -> str:
    """Return a day such as `30 Nov 2026`."""
    return f"{when:%-d %b %Y}"


def percent(share: float) -> str:
    """Return a share such as `12.3 %`; small ones have two decimals."""
    return f"{share:.{2 if 0 < share < 0.01 else 1}%}".replace("%", "\N{NO-BREAK SPACE}%")


def money(amount: float, currency: str | None) -> str:
    """Return an amount such as `1,234 EUR`; small ones have cents."""
    return f"{amount:,.{0 if amount >= 1_000 else 2}f}\N{NO-BREAK SPACE}{currency or ''}".rstrip()
