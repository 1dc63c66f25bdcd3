"""Simulates the threshold of the joint deviation, which is the largest deviation of all signals.

With a threshold per signal, one of thirty signals would exceed it all the time. So the whole procedure is calibrated:
levels and scales from few windows, all signals together, and the rule by which windows make a request.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.monitoring.drift.calibration.bands import Bands
from models.monitoring.drift.signals.event_columns import Floats
from models.monitoring.drift.signals.signal_table import oriented

LATEST_WINDOWS: Final = 5
WINDOWS_NEEDED: Final = 2
"""A retraining is requested if this many of the latest windows exceed the threshold, among them the last one."""
_RUNS: Final = 400
_WINDOWS: Final = 3
"""Windows of a simulated run, as a multiple of the windows between two false requests."""
_STEPS: Final = 30
_CAUTION: Final = 1.25
"""Safety factor on the windows between false requests. Windows after a cut share a reference time, so they exceed the
threshold together more often than simulated ones."""


def joint_threshold(
    draws: Floats, bands: Bands, least: Floats, windows: int, between: float, seed: int
) -> tuple[float, float]:
    """Return the threshold of the joint deviation, and the share of stationary windows that exceed it.

    `draws` [d, n] are deviations of stationary windows from their level, signals together; `least` [n] is the smallest
    scale that there may be; `windows` is the number of windows of the bands, `between` the mean number of windows
    between two false requests, multiplied by `_CAUTION`. Each run fits its own bands to as many drawn windows, so that
    the errors of the bands are included.
    """
    random = np.random.default_rng(seed)
    length = int(np.ceil(_WINDOWS * between)) + LATEST_WINDOWS
    joint = np.stack([_run(random, draws, (bands, least), windows, length) for _ in range(_RUNS)])
    low, high = 0.0, float(joint.max())
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if request_windows(joint > middle).sum() * between * _CAUTION > joint.size:
            low = middle
        else:
            high = middle
    return high, float((joint > high).mean())


def _run(random: np.random.Generator, draws: Floats, made: tuple[Bands, Floats], windows: int, length: int) -> Floats:
    """Return [length] the joint deviation of stationary windows, with bands from other windows."""
    bands, least = made
    learned = draws[random.integers(len(draws), size=windows)]
    backs = np.minimum(bands.lookbacks, windows)
    sums = np.cumsum(learned, axis=0)
    level = np.take_along_axis(sums, backs[None] - 1, axis=0)[0] / backs
    scale = np.maximum(np.sqrt((learned**2).mean(axis=0) * (1 + 1 / backs)), least)
    window_draws = draws[random.integers(len(draws), size=length)]
    joint: Floats = oriented((window_draws - level) / scale).max(axis=1)
    return joint


def request_windows(exceeded: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return [..., windows] the windows that make a request, given the windows that exceed the threshold.

    Windows that led to a request do not count for a later one.
    """
    counted = np.zeros(exceeded.shape, dtype=np.bool_)
    requested = np.zeros(exceeded.shape, dtype=np.bool_)
    for window in range(exceeded.shape[-1]):
        counted[..., window] = exceeded[..., window]
        latest = counted[..., max(0, window + 1 - LATEST_WINDOWS) : window + 1]
        requested[..., window] = exceeded[..., window] & (latest.sum(axis=-1) >= WINDOWS_NEEDED)
        latest[requested[..., window]] = False
    return requested
