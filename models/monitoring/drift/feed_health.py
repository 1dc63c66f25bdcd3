"""Is the feed whole? A broken one looks like drift, and is none: it blocks, and nothing is learned from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.columns import EVENT_TYPES
from models.monitoring.drift.signals.count_layout import MISSING, PLACE, Sums
from models.monitoring.drift.signals.event_columns import Floats
from models.monitoring.drift.signals.signal_table import ratio

_FAR: Final = 5.0
"""Standard deviations of a window from those before."""
_NULLS: Final = 0.005
_ODD: Final = 0.02
_LESS, _MORE = 0.5, 3.0
"""A window with less than half or more than three times the usual events, where they vary little."""
_VANISHED: Final = 50
_LEFT: Final = 0.05
"""A type of event of which so many were expected is no longer sent when hardly any came beside the fewest before: those
came before it began."""


@dataclass(frozen=True)
class FeedCheck:
    """One look at the feed."""

    check: str
    value: float
    low: float | None
    high: float | None
    passed: bool
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return dict(vars(self))


def within(check: str, value: float, low: float | None, high: float | None, detail: str) -> FeedCheck:
    """A check of a value against limits."""
    passed = (low is None or value >= low) and (high is None or value <= high)
    return FeedCheck(check, float(value), low, high, bool(passed), detail)


def check_feed(now: Floats, usual: Floats, days: tuple[int, int]) -> list[FeedCheck]:
    """Hold the counts of a window [WIDTH] against those of windows before it [windows, WIDTH].

    `days` are how many days of the window have events, and how many those before had at least.
    """
    checks = [_volume(now, usual), *_nulls(Sums(now), Sums(usual)), *_vanished(Sums(now), Sums(usual))]
    prices = _share("odd prices", "purchases at a tenth or ten times the item's price", "odd prices", "priced", _ODD)
    checks += prices(Sums(now), Sums(usual))
    detail = f"{days[0]} days have events, {days[1]} at least before"
    return [*checks, within("days", days[0], float(days[1]), None, detail)]


def _events(counts: Floats) -> Floats:
    total: Floats = counts[..., PLACE["types"]].sum(axis=-1)
    return total


def _volume(now: Floats, usual: Floats) -> FeedCheck:
    count, before = float(_events(now)), _events(usual)
    logs = np.log(np.maximum(before, 1))
    level, reach = float(np.exp(logs.mean())), _FAR * float(logs.std(ddof=1)) if len(logs) > 1 else 0.0
    low, high = level * min(_LESS, np.exp(-reach)), level * max(_MORE, np.exp(reach))
    return within("volume", count, float(low), float(high), f"{count:,.0f} events, usually {level:,.0f}")


def _nulls(now: Sums, usual: Sums) -> list[FeedCheck]:
    checks = []
    for place, column in enumerate(MISSING):
        parts = (counts["missing"][..., place] for counts in (now, usual))
        wholes = (counts["of"][..., place] for counts in (now, usual))
        checks += _shares(f"nulls: {column}", f"events without {column}", tuple(parts), tuple(wholes), _NULLS)
    return checks


def _share(check: str, about: str, part: str, whole: str, least: float) -> Any:
    def check_share(now: Sums, usual: Sums) -> list[FeedCheck]:
        return _shares(check, about, (now[part], usual[part]), (now[whole], usual[whole]), least)

    return check_share


def _shares(check: str, about: str, parts: Sequence[Floats], wholes: Sequence[Floats], least: float) -> list[FeedCheck]:
    """A share that may not rise by more than `least`, or than what is usual; none where nothing is to tell."""
    before = ratio(parts[1], wholes[1])
    before = before[np.isfinite(before)]
    if not wholes[0] > 0 or not len(before) or (before == 1).all():
        return []
    value, level = float(parts[0] / wholes[0]), float(before.mean())
    high = level + max(least, _FAR * float(before.std(ddof=1)) if len(before) > 1 else 0.0)
    return [within(check, value, None, high, f"{value:.2%} {about}, usually {level:.2%}")]


def _vanished(now: Sums, usual: Sums) -> list[FeedCheck]:
    expected, least = usual["types"].mean(axis=0), usual["types"].min(axis=0)
    checks = []
    for place in np.flatnonzero(expected >= _VANISHED):
        count, name = float(now["types"][place]), EVENT_TYPES[place]
        detail = f"{count:,.0f} events of type {name}, usually {expected[place]:,.0f}"
        checks.append(within(f"type: {name}", count, max(1.0, _LEFT * float(least[place])), None, detail))
    return checks
