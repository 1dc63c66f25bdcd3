"""Compares a window with the calibration: the deviation of each signal, and the joint deviation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from models.monitoring.drift.calibration.calibrate import Calibration
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.signals.signal_table import SIGNALS, oriented, values


class SignalJson(TypedDict):
    """A signal as `drift_reports.signals` stores it."""

    signal: str
    about: str
    value: float | None
    low: float | None
    high: float | None
    deviation: float | None
    counted: bool


@dataclass(frozen=True)
class SignalReading:
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

    def as_dict(self) -> SignalJson:
        """Return plain values that JSON can hold."""
        return SignalJson(
            signal=self.signal,
            about=self.about,
            value=self.value,
            low=self.low,
            high=self.high,
            deviation=self.deviation,
            counted=self.counted,
        )

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
