"""The table of drift signals. A new signal is a function of sums over users, and a line here.

Signals are functions of sums over users, never of events, so that they can be calibrated by resampling users.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np

from models.monitoring.drift.signals.event_columns import Floats
from models.monitoring.drift.signals.user_counts import BINS, FEATURES, Sums, ratio

Value = Callable[[Sums, Sums], Floats]
"""The value [...] of a window, given sums over its users [..., WIDTH] and those of the reference time [WIDTH]; NaN if
unknown."""


@dataclass(frozen=True)
class Signal:
    """One figure of a window."""

    name: str
    about: str
    worse: Literal["up", "down", "either"]
    """The direction out of the band that counts."""
    value: Value


def distance(now: Floats, then: Floats) -> Floats:
    """Return [...] the total variation distance of two distributions over bins [..., bins], from 0 to 1.

    It is the share of users (or interactions) that would have to be in other bins.
    """
    shares = (ratio(counts, counts.sum(axis=-1, keepdims=True)) for counts in (now, then))
    return np.asarray(np.abs(np.subtract(*shares)).sum(axis=-1) / 2)


def _level(name: str, now: Sums, then: Sums) -> Floats:
    """Return the mean rank of the window's users among earlier users: 0.5 is the middle (Mann-Whitney probability).

    Users with an unknown value do not count.
    """
    counts, usual = now[name][..., :BINS], then[name][:BINS]
    reached = np.cumsum(usual) - usual / 2
    return ratio(counts @ ratio(reached, usual.sum()), counts.sum(axis=-1))


def _shape(name: str, now: Sums, then: Sums) -> Floats:
    """Return the distance of users, or of interactions, over the bins of a count."""
    return distance(now[name], then[name])


def _share(part: str, whole: str, now: Sums, _then: Sums) -> Floats:
    return ratio(now[part], now[whole])


def _clicks(now: Sums, then: Sums) -> Floats:
    """Return the log ratio of clicks to those expected at the shown positions, less that of the control."""
    rate = np.nan_to_num(ratio(then["clicked"], then["shown"]))
    ours = ratio(now["clicked"].sum(axis=-1), now["shown"] @ rate)
    control = ratio(now["control clicked"].sum(axis=-1), now["control shown"] @ rate)
    with np.errstate(divide="ignore"):
        log_ratio = np.log(ours) - np.where(np.isfinite(control) & (control > 0), np.log(control), 0.0)
    return np.where(np.isfinite(log_ratio), log_ratio, np.nan)


SIGNALS: Final = (
    *(Signal(name, about, "either", partial(_level, name)) for name, about in FEATURES.items()),
    *(
        Signal(f"{name}: distribution", f"how else {about} is spread over users", "up", partial(_shape, name))
        for name, about in FEATURES.items()
    ),
    Signal("popularity", "interactions that moved to items of another tenth by popularity", "up",
           partial(_shape, "popularity")),
    Signal("new items", "interactions with items that the champion has never seen", "up",
           partial(_share, "new items", "interactions")),
    Signal("new users", "active users whom the champion has never seen", "up", partial(_share, "new users", "users")),
    Signal("taste", "how like their taste before the taste of the same users is (cosine)", "down",
           partial(_share, "likeness", "anchors")),
    Signal("conversion", "active users who buy", "either", partial(_share, "buyers", "users")),
    Signal("click-through", "clicks by position, beside those before and a control (log ratio)", "down", _clicks),
)  # fmt: skip
"""Signals that are calibrated on windows of events. `window_verdict` has those of lists and serving."""
NAMES: Final = tuple(signal.name for signal in SIGNALS)


def values(now: Sums, then: Sums) -> Floats:
    """Return the values of all signals [..., n_signals]."""
    return np.stack(np.broadcast_arrays(*(signal.value(now, then) for signal in SIGNALS)), axis=-1)


def oriented(deviations: Floats) -> Floats:
    """Return [..., n_signals] the deviation of each signal in the directions that count; 0 for NaN."""
    known = np.nan_to_num(deviations)
    sides = {"up": 1.0, "down": -1.0}
    return np.stack(
        [
            np.abs(known[..., i]) if s.worse == "either" else np.maximum(sides[s.worse] * known[..., i], 0.0)
            for i, s in enumerate(SIGNALS)
        ],
        axis=-1,
    )
