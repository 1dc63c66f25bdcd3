"""The bands of signals: a level by weekday and age of the champion, and the deviation of single windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.monitoring.drift.signals.event_columns import Floats, Ints

LOOKBACKS: Final = (2, 4, 8, 16, 32)
"""Numbers of windows whose mean may be the level; each signal uses the one that predicts the next window best."""
_FEWEST: Final = 2
_OUTLIER: Final = 4.0
"""Residuals are clipped at this many standard deviations (by the median), so that a holiday widens no band."""
_TO_SD: Final = 1.4826
_USUAL: Final = 0.9
"""Residuals up to this quantile are never clipped, because some signals, such as new items, are mostly near 0."""


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
    return Bands(level, _deviation(chosen), lookbacks, np.array(ages)), _clipped(chosen)[:, 0]


def _mean(values: Floats) -> Floats:
    known = np.isfinite(values).sum(axis=0)
    residual: Floats = np.nansum(values, axis=0) / np.where(known > 0, known, np.nan)
    return residual


def _clipped(errors: Floats) -> Floats:
    """Return errors clipped at the outlier limit."""
    far = np.sort(np.where(np.isfinite(errors), np.abs(errors), np.inf), axis=0)  # unknown ones come last
    known = np.isfinite(errors).sum(axis=0, keepdims=True)
    middle, usual = (np.take_along_axis(far, (known * part).astype(np.int64), axis=0)[0] for part in (0.5, _USUAL))
    most = np.maximum(_OUTLIER * _TO_SD * middle, usual)
    residual: Floats = np.where((most > 0) & np.isfinite(errors), np.clip(errors, -most, most), errors)
    return residual


def _deviation(errors: Floats) -> Floats:
    """Return [n_ages, n] the root mean square of the clipped errors."""
    residual: Floats = np.sqrt(_mean(_clipped(errors) ** 2))
    return residual
