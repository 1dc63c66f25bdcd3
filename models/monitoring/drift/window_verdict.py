"""Holds a window against what is usual: how far each signal is off, and whether all of them together are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.monitoring.drift.calibration.calibrate import Calibration
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.signals.signal_table import SIGNALS, oriented, values


@dataclass(frozen=True)
class SignalReading:
    """A signal in a window."""

    signal: str
    about: str
    value: float | None
    low: float | None
    """Its band: what is below or above drives an alarm. None where that way nothing is said."""
    high: float | None
    deviation: float | None
    """In standard deviations, only in the directions that count."""
    counted: bool
    """Whether it can drive an alarm: not before enough is known of it."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return dict(vars(self))


@dataclass(frozen=True)
class WindowJudgement:
    """What a window came to."""

    readings: Sequence[SignalReading]
    joint: float
    """The largest deviation of a counted signal."""
    threshold: float

    @property
    def exceeds(self) -> bool:
        """Whether the joint statistic left its band."""
        return self.joint > self.threshold

    @property
    def drivers(self) -> list[str]:
        """The signals that left theirs, the furthest first."""
        off = [
            one for one in self.readings if one.counted and one.deviation is not None and one.deviation > self.threshold
        ]
        return [one.signal for one in sorted(off, key=lambda one: -(one.deviation or 0.0))]


def judge(
    calibration: Calibration, history: History, window: int, others: Sequence[SignalReading] = ()
) -> WindowJudgement:
    """Hold a window after the cut against the calibration; `others` are signals that are not made of its events."""
    now = values(history.sums(window, history.cut), history.usual(history.cut))
    level, scale = calibration.bands.of(history.weekday(window), window - history.cut)
    deviations = (now - level) / scale
    far = oriented(deviations)
    readings = []
    for place, signal in enumerate(SIGNALS):
        counted = bool(np.isfinite(deviations[place]))
        reach = calibration.threshold * scale[place]
        low = float(level[place] - reach) if counted and signal.worse != "up" else None
        high = float(level[place] + reach) if counted and signal.worse != "down" else None
        value = float(now[place]) if np.isfinite(now[place]) else None
        off = float(far[place]) if counted else None
        readings.append(SignalReading(signal.name, signal.about, value, low, high, off, counted))
    readings += others
    joint = max((one.deviation for one in readings if one.counted and one.deviation is not None), default=0.0)
    return WindowJudgement(readings, joint, calibration.threshold)
