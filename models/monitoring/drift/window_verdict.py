"""Compares a window with the calibration: the deviation of each signal, and the joint deviation.

Signals of served lists are judged by their own earlier values, because there is no calibration of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from models.monitoring.drift.calibration.bands import Calibration
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.signals.signal_table import SIGNALS, oriented, values

MIN_WINDOWS: Final = 8
"""Earlier windows that a signal needs to count."""


class ServingSignal(NamedTuple):
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


class SignalReading(NamedTuple):
    """The value of a signal in one window, with its band."""

    signal: str
    about: str
    value: float | None
    low: float | None
    """Lower end of the band. None if low values are no alarm; `high` likewise."""
    high: float | None
    deviation: float | None
    """Standard deviations from the usual level, only in the directions that count."""
    counted: bool
    """Whether the signal can raise an alarm; a signal with too little history cannot."""

    @property
    def alarm_deviation(self) -> float:
        """The deviation if the signal can raise an alarm, else 0."""
        return self.deviation or 0.0 if self.counted else 0.0


@dataclass(frozen=True)
class WindowJudgement:
    """The signals of a window and their joint deviation."""

    readings: Sequence[SignalReading]
    joint: float
    """The largest deviation of a counted signal."""
    threshold: float

    @property
    def exceeds(self) -> bool:
        """Whether the joint deviation is beyond its threshold."""
        return self.joint > self.threshold

    @property
    def drivers(self) -> list[str]:
        """The signals beyond the threshold, the largest deviation first."""
        beyond = [reading for reading in self.readings if reading.alarm_deviation > self.threshold]
        return [reading.signal for reading in sorted(beyond, key=lambda reading: -reading.alarm_deviation)]


def judge(
    calibration: Calibration, history: History, window: int, others: Sequence[SignalReading] = ()
) -> WindowJudgement:
    """Compare a window after the cut with the calibration.

    `others` are readings of signals that are not computed from the window's events.
    """
    now = values(history.sums(window, history.cut), history.usual(history.cut))
    level, scale = calibration.bands.of(history.weekday(window), history.age(window))
    deviations = (now - level) / scale
    far = oriented(deviations)
    readings = []
    for place, signal in enumerate(SIGNALS):
        counted = bool(np.isfinite(deviations[place]))
        reach = calibration.threshold * scale[place]
        low = float(level[place] - reach) if counted and signal.worse != "up" else None
        high = float(level[place] + reach) if counted and signal.worse != "down" else None
        value = float(now[place]) if np.isfinite(now[place]) else None
        deviation = float(far[place]) if counted else None
        readings.append(SignalReading(signal.name, signal.about, value, low, high, deviation, counted))
    readings += others
    joint = max((reading.alarm_deviation for reading in readings), default=0.0)
    return WindowJudgement(readings, joint, calibration.threshold)


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
