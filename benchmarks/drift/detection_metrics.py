"""How soon and how surely a shift is found, and what that is worth: false alarms at the same limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

WINDOWS: Final = 12
"""How long a shift is given to be found."""
MISSED: Final = WINDOWS + 1

Found = NDArray[np.bool_]
"""[windows] at which of them a monitor said that something is wrong; a shift begins with the first."""


@dataclass(frozen=True)
class Detection:
    """Of one shift in many streams."""

    power: float
    """The share of streams in which it was found in time."""
    delay: float
    """Windows until it was, in the median stream; `MISSED` where that one never found it."""


def detection(found: Sequence[Found]) -> Detection:
    """What was found in each stream."""
    delays = [delay(one) for one in found]
    return Detection(float(np.mean([d <= WINDOWS for d in delays])), float(np.median(delays)))


def delay(found: Found) -> int:
    """1 where the first window of a shift told it."""
    told = np.flatnonzero(found[:WINDOWS])
    return int(told[0]) + 1 if len(told) else MISSED


def limit_at_rate(statistic: Any, always: Found, rate: float) -> float:
    """The lowest limit of a statistic which no more than a share of stationary windows are above; those that are
    found `always`, whatever it is, count."""
    spare = np.floor(rate * len(always) + 1e-9) - always.sum()
    rest = np.sort(np.asarray(statistic, dtype=np.float64)[~always])[::-1]
    return float(rest[int(np.clip(spare, 0, len(rest) - 1))])
