"""How soon and how surely a shift is found, and what that is worth: false alarms at the same limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

WINDOWS: Final = 12
"""How long a shift is given to be found."""
MISSED: Final = WINDOWS + 1

Alarms = NDArray[np.bool_]
"""[windows] at which of them a monitor said that something is wrong; a shift begins with the first."""


@dataclass(frozen=True)
class Detection:
    """Of one shift in many streams."""

    power: float
    """The share of streams in which it was found in time."""
    delay: float
    """Windows until it was, in the median stream; `MISSED` where that one never found it."""


def detection(alarms: Sequence[Alarms]) -> Detection:
    """What was found in each stream."""
    delays = [delay(one) for one in alarms]
    return Detection(float(np.mean([d <= WINDOWS for d in delays])), float(np.median(delays)))


def delay(alarms: Alarms) -> int:
    """1 where the first window of a shift told it."""
    positions = np.flatnonzero(alarms[:WINDOWS])
    return int(positions[0]) + 1 if len(positions) else MISSED


def limit_at_rate(statistic: Any, always: Alarms, rate: float) -> float:
    """The lowest limit of a statistic which no more than a share of stationary windows are above; those that are
    found `always`, whatever it is, count."""
    spare = np.floor(rate * len(always) + 1e-9) - always.sum()
    ordered = np.sort(np.asarray(statistic, dtype=np.float64)[~always])[::-1]
    return float(ordered[int(np.clip(spare, 0, len(ordered) - 1))])
