"""Checks whether the event feed is complete. A broken feed resembles drift, so it blocks retraining."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from models.columns import EVENT_TYPES
from models.monitoring.drift.signals.event_columns import Floats
from models.monitoring.drift.signals.user_counts import MISSING, PLACE, Sums, ratio

_FAR: Final = 5.0
"""Standard deviations from earlier windows beyond which a check fails."""
_NULLS: Final = 0.005
_ODD: Final = 0.02
_LESS, _MORE = 0.5, 3.0
"""Bounds of a window's events as multiples of the usual number, if that number varies little."""
_VANISHED: Final = 50
_REMAINDER: Final = 0.05
"""An event type with at least `_VANISHED` expected events fails below this share of its earlier minimum."""


class FeedCheck(NamedTuple):
    """One check of the feed: a value and its limits."""

    check: str
    value: float
    low: float | None
    high: float | None
    passed: bool
    detail: str


def within(check: str, value: float, low: float | None, high: float | None, detail: str) -> FeedCheck:
    """Return a check that passes if the value lies within its limits."""
    passed = (low is None or value >= low) and (high is None or value <= high)
    return FeedCheck(check, float(value), low, high, bool(passed), detail)


def check_feed(now: Floats, usual: Floats, days: tuple[int, int]) -> list[FeedCheck]:
    """Compare the counts of a window [WIDTH] with those of earlier windows [windows, WIDTH].

    `days` has the number of days with events in the window, and the smallest such number of an earlier window.
    """
    checks = [_volume(now, usual), *_nulls(Sums(now), Sums(usual)), *_vanished(Sums(now), Sums(usual))]
    checks += _odd_prices(Sums(now), Sums(usual))
    detail = f"{days[0]} days have events, {days[1]} at least before"
    return [*checks, within("days", days[0], float(days[1]), None, detail)]


def _events(counts: Floats) -> Floats:
    return np.asarray(counts[..., PLACE["types"]].sum(axis=-1))


def _volume(now: Floats, usual: Floats) -> FeedCheck:
    count, before = float(_events(now)), _events(usual)
    logs = np.log(np.maximum(before, 1))
    level, reach = float(np.exp(logs.mean())), _FAR * float(logs.std(ddof=1)) if len(logs) > 1 else 0.0
    low, high = level * min(_LESS, np.exp(-reach)), level * max(_MORE, np.exp(reach))
    return within("volume", count, float(low), float(high), f"{count:,.0f} events, usually {before.mean():,.0f}")


def _nulls(now: Sums, usual: Sums) -> list[FeedCheck]:
    checks = []
    for place, column in enumerate(MISSING):
        parts = (counts["missing"][..., place] for counts in (now, usual))
        wholes = (counts["of"][..., place] for counts in (now, usual))
        checks += _shares(f"nulls: {column}", f"events without {column}", tuple(parts), tuple(wholes), _NULLS)
    return checks


def _odd_prices(now: Sums, usual: Sums) -> list[FeedCheck]:
    about = "purchases at a tenth or ten times the item's price"
    parts, wholes = (now["odd prices"], usual["odd prices"]), (now["priced"], usual["priced"])
    return _shares("odd prices", about, parts, wholes, _ODD)


def _shares(check: str, about: str, parts: Sequence[Floats], wholes: Sequence[Floats], least: float) -> list[FeedCheck]:
    """Check that a share does not rise by more than `least` or its usual variation; return no check without data."""
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
        checks.append(within(f"type: {name}", count, max(1.0, _REMAINDER * float(least[place])), None, detail))
    return checks
