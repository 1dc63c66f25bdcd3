"""Signals of served lists, judged by their own earlier values because there is no calibration of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from models.monitoring.drift.window_verdict import SignalReading

MIN_WINDOWS: Final = 8
"""Earlier windows that a signal needs to count."""


@dataclass(frozen=True)
class ServingSignal:
    """One figure of the lists in a window."""

    name: str
    about: str
    worse: Literal["up", "down", "either"]


SERVING_SIGNALS: Final = (
    ServingSignal(
        "realised recall", "purchases that were on the lists people had, beside those on a list of best sellers", "down"
    ),
    ServingSignal(
        "realised hit rate",
        "people who bought something that was on their list, beside a list of best sellers",
        "down",
    ),
    ServingSignal("coverage", "share of the catalogue on any list", "either"),
    ServingSignal("concentration", "how unevenly items are shown (Gini)", "either"),
    ServingSignal("overlap", "share of a list that was on the one before", "down"),
    ServingSignal("scores", "how far scores have moved, by their spread in the champion's first lists", "up"),
)


def read_serving_signals(
    now: Mapping[str, float], past: Mapping[str, Sequence[float]], limit: float
) -> list[SignalReading]:
    """Return a reading of each known signal, given its values in earlier windows, the latest last.

    With few values the band is that of Student's t, so that a deviation means as much as one of a calibrated signal.
    """
    return [
        _reading(signal, now[signal.name], past.get(signal.name, ()), limit)
        for signal in SERVING_SIGNALS
        if signal.name in now
    ]


def _reading(signal: ServingSignal, value: float, past: Sequence[float], limit: float) -> SignalReading:
    known = np.array(past, dtype=np.float64)
    n = len(known)
    if n < MIN_WINDOWS:
        return SignalReading(signal.name, signal.about, value, None, None, None, counted=False)
    from scipy import stats

    level, spread = float(known.mean()), float(known.std(ddof=1)) * (1 + 1 / n) ** 0.5 + 1e-9
    off = (value - level) / spread
    # The normal quantile of the same tail probability; logarithms keep small tails apart from 0.
    normal = float(-stats.norm.ppf(np.exp(stats.t.logsf(abs(off), n - 1))))
    sign = {"up": off > 0, "down": off < 0, "either": True}[signal.worse]
    reach = float(stats.t.isf(stats.norm.sf(limit), n - 1)) * spread
    low = level - reach if signal.worse != "up" else None
    high = level + reach if signal.worse != "down" else None
    return SignalReading(signal.name, signal.about, value, low, high, min(normal, 38.0) if sign else 0.0, counted=True)
