"""The bands of signals, calibrated on a shop's own history for a chosen rate of false requests.

A band has a level by weekday and age of the champion, and the deviation of single windows. With a threshold per
signal, one of thirty signals would exceed it all the time. So one threshold of their largest deviation is calibrated:
levels and scales from few windows, all signals together, and the rule of requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.errors import TailorbirdError
from models.monitoring.drift.calibration.windows import History, ages, windows_before
from models.monitoring.drift.signals.event_columns import Floats, Ints
from models.monitoring.drift.signals.signal_table import NAMES, oriented, values
from models.monitoring.drift.signals.user_counts import Edges, Sums
from models.primitives.json_types import JsonObject

LENGTHS: Final = (1, 7, 14, 28)
"""Days of a window."""
_MOST: Final = 64
"""Most windows of a calibration, because older ones may be unusual now."""
MIN_WINDOWS: Final = 30
_LEAST_SCALE: Final = 0.002
"""Smallest scale of a signal, because a signal that never varied may still vary."""
_DRAWS: Final = 100
"""Bootstrap samples of the users of each window."""
LOOKBACKS: Final = (2, 4, 8, 16, 32)
"""Numbers of windows whose mean may be the level; each signal uses the one that predicts the next window best."""
_FEWEST: Final = 2
_OUTLIER: Final = 4.0
"""Residuals are clipped at this many standard deviations (by the median), so that a holiday widens no band."""
_TO_SD: Final = 1.4826
_USUAL: Final = 0.9
"""Residuals up to this quantile are never clipped, because some signals, such as new items, are mostly near 0."""
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


class TooLittleHistoryError(TailorbirdError):
    """There are too few windows to calibrate the bands."""


@dataclass(frozen=True)
class Bands:
    """Level and scale of n signals."""

    level: Floats
    """[weekdays, n_ages, n]; NaN if unknown."""
    scale: Floats
    """[n_ages, n] standard deviation of a window from the level of earlier windows."""
    lookbacks: Ints
    """[n] number of windows that make up the level."""
    ages: Ints
    """[n_ages] ages of the champion in windows, rising."""

    def of(self, weekday: int, age: float) -> tuple[Floats, Floats]:
        """Return level and scale [n] for an age of the champion, interpolated; greater ages count as the greatest."""
        age = min(age, int(self.ages[-1]))
        above = int(np.searchsorted(self.ages, age))
        below = max(0, above - 1) if self.ages[above] != age else above
        span = self.ages[above] - self.ages[below]
        part = (age - self.ages[below]) / span if span else 0.0
        level, scale = (
            known[below] + part * (known[above] - known[below]) for known in (self.level[weekday], self.scale)
        )
        return level, scale


def residuals(values: Floats, weekdays: Sequence[int], lookback: int) -> Floats:
    """Return [windows, ...] each window less the mean of up to `lookback` earlier ones of its weekday, else NaN."""
    residual = np.full(values.shape, np.nan)
    for day in set(weekdays):
        same_day = np.flatnonzero(np.asarray(weekdays) == day)
        for place in range(_FEWEST, len(same_day)):
            before = values[same_day[max(0, place - lookback) : place]]
            with np.errstate(invalid="ignore"):
                known = np.isfinite(before).sum(axis=0)
                mean = np.nansum(before, axis=0) / np.where(known >= _FEWEST, known, np.nan)
            residual[same_day[place]] = values[same_day[place]] - mean
    return residual


def fit(values: Floats, weekdays: Sequence[int], ages: Sequence[int] = (0,)) -> tuple[Bands, Floats]:
    """Fit bands to values [windows, n_ages, n]; return them and the residuals [windows, n] at age 0.

    The scale is that of the prediction error, so it covers slow trends, which are usual.
    """
    tried = np.stack([residuals(values, weekdays, back) for back in LOOKBACKS])
    held = np.isfinite(tried[:, :, 0]).all(axis=0)  # [windows, n]: predicted by all of them
    errors = np.nansum(np.where(held, tried[:, :, 0] ** 2, np.nan), axis=1)
    best = np.argmin(errors, axis=0)
    chosen = np.take_along_axis(tried, best[None, None, None, :], axis=0)[0]
    lookbacks = np.array(LOOKBACKS)[best]
    level = np.full((max(weekdays) + 1, *values.shape[1:]), np.nan)
    for day in set(weekdays):
        same_day = values[np.asarray(weekdays) == day]
        for signal, back in enumerate(lookbacks):
            level[day, :, signal] = _mean(same_day[-back:, :, signal])
    clipped = _clipped(chosen)
    return Bands(level, np.sqrt(_mean(clipped**2)), lookbacks, np.array(ages)), clipped[:, 0]


def _mean(values: Floats) -> Floats:
    known = np.isfinite(values).sum(axis=0)
    return np.asarray(np.nansum(values, axis=0) / np.where(known > 0, known, np.nan))


def _clipped(errors: Floats) -> Floats:
    """Return errors clipped at the outlier limit."""
    far = np.sort(np.where(np.isfinite(errors), np.abs(errors), np.inf), axis=0)  # unknown ones come last
    known = np.isfinite(errors).sum(axis=0, keepdims=True)
    middle, usual = (np.take_along_axis(far, (known * part).astype(np.int64), axis=0)[0] for part in (0.5, _USUAL))
    most = np.maximum(_OUTLIER * _TO_SD * middle, usual)
    return np.where((most > 0) & np.isfinite(errors), np.clip(errors, -most, most), errors)


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
    return np.asarray(oriented((window_draws - level) / scale).max(axis=1))


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


@dataclass(frozen=True)
class Calibration:
    """The usual level of each signal, and the threshold that stationary data exceed as rarely as the shop chose."""

    window_days: int
    windows: int
    windows_between_alarms: float
    """Mean number of windows between two false requests."""
    threshold: float
    """Threshold of the joint statistic, which is the largest deviation of any signal in standard deviations."""
    false_alarms: float
    """Share of stationary windows that exceed the threshold."""
    bands: Bands
    edges: Edges
    past: Mapping[str, list[float | None]]
    """By signal, its values in the windows of the calibration, for plots."""
    skipped_days: int = 0
    """Days between the calibration's windows and the first one after them."""

    def as_dict(self) -> JsonObject:
        """Return plain values, as `drift_calibrations.calibration` stores them."""
        return {
            "window_days": self.window_days,
            "windows": self.windows,
            "between": self.windows_between_alarms,
            "limit": self.threshold,
            "false_alarms": self.false_alarms,
            "signals": list(NAMES),
            "bands": {
                "level": json_lists(self.bands.level),
                "scale": json_lists(self.bands.scale),
                "looked_back": self.bands.lookbacks.tolist(),
                "ages": self.bands.ages.tolist(),
            },
            "edges": self.edges,
            "past": dict(self.past),
            "skipped_days": self.skipped_days,
        }

    @classmethod
    def from_dict(cls, stored: JsonObject) -> Self:
        """Return the calibration that `as_dict` gave these plain values."""
        bands = stored["bands"]
        level, scale = (np.array(values, dtype=np.float64) for values in (bands["level"], bands["scale"]))
        return cls(
            stored["window_days"],
            stored["windows"],
            stored["between"],
            stored["limit"],
            stored["false_alarms"],
            Bands(level, scale, np.array(bands["looked_back"]), np.array(bands["ages"])),
            stored["edges"],
            stored["past"],
            stored.get("skipped_days", 0),
        )


def calibrate(history: History, windows_between: float, seed: int) -> Calibration:
    """Calibrate with the windows before the cut. Raises TooLittleHistoryError.

    The spread of stationary windows is that of the windows themselves, smoothed by resampling their users (a smoothed
    bootstrap that keeps the variance, Silverman and Young 1987).
    """
    # Those with a complete reference time at every age.
    windows = range(2 * windows_before(history.window_days), history.cut)
    if len(windows) < MIN_WINDOWS:
        raise TooLittleHistoryError(
            f"There are {len(windows)} windows of {history.window_days} days to calibrate with."
        )
    random = np.random.default_rng(seed)
    noise = np.stack([_resampled(history, window, random) for window in windows])
    table = np.stack([_by_age(history, window) for window in windows])
    bands, errors = fit(table, [history.weekday(window) for window in windows], ages(history.window_days))
    draws = _smooth(errors, noise)
    counted = np.isfinite(errors).sum(axis=0) >= MIN_WINDOWS - 4 * (1 + max(map(history.weekday, windows)))
    draws[:, ~counted] = 0.0
    least = np.maximum(np.sqrt((noise**2).mean(axis=(0, 1))), _LEAST_SCALE)
    bands = replace(bands, scale=np.where(counted, np.maximum(bands.scale, least), np.nan))
    high, often = joint_threshold(draws, bands, least, len(windows), windows_between, seed)
    past = {name: json_lists(table[:, 0, place]) for place, name in enumerate(NAMES)}
    fitted = bands, history.edges, past, history.skipped_days
    return Calibration(history.window_days, len(windows), windows_between, high, often, *fitted)


def _by_age(history: History, window: int) -> Floats:
    """Return [n_ages, n] the signals of a window by age of the champion in windows."""
    ends = [window - age for age in ages(history.window_days)]
    return np.stack([values(history.sums(window, end), history.usual(end)) for end in ends])


def _resampled(history: History, window: int, random: np.random.Generator) -> Floats:
    """Return [_DRAWS, n] the signals for resampled users, less their mean."""
    counts = history.counted(window).values
    times = random.poisson(1.0, (_DRAWS, len(counts))).astype(np.float64)
    resampled = values(Sums(times @ counts), history.usual(window))
    return np.asarray(np.nan_to_num(resampled - np.nanmean(np.where(np.isfinite(resampled), resampled, 0.0), axis=0)))


def _smooth(errors: Floats, noise: Floats) -> Floats:
    """Return [windows * draws, n] deviations of stationary windows: shrunk residuals plus resampling noise."""
    known = np.nan_to_num(errors)[np.isfinite(errors).any(axis=1)]
    noise = noise[np.isfinite(errors).any(axis=1)]
    observed, chance = (known**2).mean(axis=0), (noise**2).mean(axis=(0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        shrinkage = np.sqrt(np.clip(1 - chance / observed, 0, 1))
    draws: Floats = (np.nan_to_num(shrinkage) * known)[:, None, :] + noise
    return draws.reshape(-1, draws.shape[-1])


def json_lists(values: Floats) -> Any:
    """Return nested lists with None for NaN, which JSON cannot hold."""
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()


def windows_needed(window_days: int) -> int:
    """Return the windows that a calibration needs, with the reference time before the first one."""
    return MIN_WINDOWS + 2 * windows_before(window_days)


def windows_used(days: int, window_days: int) -> int:
    """Return how many windows of a history in days are used."""
    return min(days // window_days, _MOST + 2 * windows_before(window_days))


def ensure_enough_history(days: int, window_days: int) -> None:
    """Raise TooLittleHistoryError if the days are too few for windows of a configured length."""
    if days // window_days < windows_needed(window_days):
        raise _too_little(days, window_days * windows_needed(window_days), f" in windows of {window_days} days")


def _too_little(days: int, least: int, how: str = "") -> TooLittleHistoryError:
    return TooLittleHistoryError(
        f"There are {max(0, days)} days of events before the champion's cut, and a calibration needs at least {least} "
        f"days{how}: the monitor starts once there are that many."
    )


def choose_length(days: int, users: Mapping[int, float], least_users: float) -> int:
    """Return the shortest window length with enough active users, else the longest one that the history allows.

    `users` has the mean active users by length, `days` is the length of the history. Raises TooLittleHistoryError if
    the history allows no length.
    """
    possible = [length for length in LENGTHS if days // length >= windows_needed(length)]
    if not possible:
        raise _too_little(days, min(length * windows_needed(length) for length in LENGTHS))
    enough = [length for length in possible if users.get(length, 0.0) >= least_users]
    return min(enough) if enough else max(possible)
