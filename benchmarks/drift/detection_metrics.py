"""Measures the delay and the rate of detection of a shift, at the same rate of false alarms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

WINDOWS: Final = 12
"""Windows within which a shift has to be found."""
MISSED: Final = WINDOWS + 1

Alarms = NDArray[np.bool_]
"""[windows] whether a monitor raised an alarm; a shift begins with the first window."""


@dataclass(frozen=True)
class Detection:
    """The detection of one shift in many streams."""

    power: float
    """Share of streams in which the shift was found in time."""
    delay: float
    """Windows until detection in the median stream; `MISSED` if that stream never found it."""


def detection(alarms: Sequence[Alarms]) -> Detection:
    """Return the detection over streams."""
    delays = [delay(one) for one in alarms]
    return Detection(float(np.mean([d <= WINDOWS for d in delays])), float(np.median(delays)))


def delay(alarms: Alarms) -> int:
    """Return the number of windows until the first alarm; 1 for the first window of a shift."""
    positions = np.flatnonzero(alarms[:WINDOWS])
    return int(positions[0]) + 1 if len(positions) else MISSED


def limit_at_rate(statistic: Any, always: Alarms, rate: float) -> float:
    """Return the lowest limit of a statistic that no more than a share of stationary windows exceed.

    Windows that are alarms at any limit (`always`) count too.
    """
    spare = np.floor(rate * len(always) + 1e-9) - always.sum()
    ordered = np.sort(np.asarray(statistic, dtype=np.float64)[~always])[::-1]
    return float(ordered[int(np.clip(spare, 0, len(ordered) - 1))])
