"""How wide bands have to be: the limit of the largest deviation of a whole family of signals, by simulation.

A limit for each signal alone would be left by one of thirty all the time. What is calibrated is the whole procedure:
levels and scales from few windows, all signals at once, and the rule by which windows make a request.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.monitoring.drift.calibration.bands import Bands
from models.monitoring.drift.signals.event_columns import Floats
from models.monitoring.drift.signals.signal_table import oriented

LATEST_WINDOWS: Final = 5
WINDOWS_NEEDED: Final = 2
"""Retraining is asked for when so many of the latest windows left their band, and the last one did."""
_RUNS: Final = 400
_WINDOWS: Final = 3
"""Windows of a run, by those that are to lie between two false requests."""
_STEPS: Final = 30
_CAUTION: Final = 1.25
"""So many times fewer requests than were chosen: windows after a cut are held against the same time before it, so that
they leave their bands together more often than draws do."""


def joint_threshold(
    draws: Floats, bands: Bands, least: Floats, windows: int, between: float, seed: int
) -> tuple[float, float]:
    """The limit of the joint statistic, and in which share of stationary windows it is left.

    `draws` [d, n] are deviations of stationary windows from their level, signals together; `least` [n] is the smallest
    scale that there may be; `windows` is how many the bands were made from, `between` how many are to pass between two
    false requests, on average; it is wide enough for `_CAUTION` times as many. Each run makes its bands anew from as
    many drawn windows as there were, so that their errors are part of it.
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
    """[length] the joint statistic of stationary windows, by bands from others."""
    bands, least = made
    learned = draws[random.integers(len(draws), size=windows)]
    backs = np.minimum(bands.looked_back, windows)
    sums = np.cumsum(learned, axis=0)
    level = np.take_along_axis(sums, backs[None] - 1, axis=0)[0] / backs
    scale = np.maximum(np.sqrt((learned**2).mean(axis=0) * (1 + 1 / backs)), least)
    window_draws = draws[random.integers(len(draws), size=length)]
    joint: Floats = oriented((window_draws - level) / scale).max(axis=1)
    return joint


def request_windows(exceeded: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[..., windows] at which windows retraining is asked for, by which ones left their band; what led to a request
    counts for none after it."""
    counted = np.zeros(exceeded.shape, dtype=np.bool_)
    requested = np.zeros(exceeded.shape, dtype=np.bool_)
    for window in range(exceeded.shape[-1]):
        counted[..., window] = exceeded[..., window]
        latest = counted[..., max(0, window + 1 - LATEST_WINDOWS) : window + 1]
        requested[..., window] = exceeded[..., window] & (latest.sum(axis=-1) >= WINDOWS_NEEDED)
        latest[requested[..., window]] = False
    return requested
