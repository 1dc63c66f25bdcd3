"""What signals usually are: a level by weekday and by the champion's age, and how far single windows lie from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.monitoring.drift.signals.event_columns import Floats, Ints

LOOKBACKS: Final = (2, 4, 8, 16, 32)
"""Windows whose mean may be the level; which of them is chosen signal by signal, by how well it foretells the next."""
_FEWEST: Final = 2
_OUTLIER: Final = 4.0
"""A window further off than so many standard deviations (by the median) counts as so far and no further: a holiday
must not make everything else look usual."""
_TO_SD: Final = 1.4826
_USUAL: Final = 0.9
"""The share of windows of which none is an outlier: what mostly is near nought, as new items are, may be usual."""


@dataclass(frozen=True)
class Bands:
    """Of n signals."""

    level: Floats
    """[weekdays, n_ages, n] NaN where nothing is known."""
    scale: Floats
    """[n_ages, n] standard deviations of a window from the level of those before it."""
    looked_back: Ints
    """[n] how many windows make up the level."""
    ages: Ints
    """[n_ages] in windows, rising."""

    def of(self, weekday: int, age: int) -> tuple[Floats, Floats]:
        """[n] level and scale for a champion of an age; of greater ages as of the greatest."""
        age = min(age, int(self.ages[-1]))
        above = int(np.searchsorted(self.ages, age))
        below = max(0, above - 1) if self.ages[above] != age else above
        span = self.ages[above] - self.ages[below]
        part = (age - self.ages[below]) / span if span else 0.0
        level, scale = (
            known[below] + part * (known[above] - known[below]) for known in (self.level[weekday], self.scale)
        )
        return level, scale


def residuals(values: Floats, weekdays: Sequence[int], looked_back: int) -> Floats:
    """[windows, ...] each window minus the mean of up to so many of the same weekday before it; NaN for the first."""
    residual = np.full(values.shape, np.nan)
    for day in set(weekdays):
        same_day = np.flatnonzero(np.asarray(weekdays) == day)
        for place in range(_FEWEST, len(same_day)):
            before = values[same_day[max(0, place - looked_back) : place]]
            with np.errstate(invalid="ignore"):
                known = np.isfinite(before).sum(axis=0)
                mean = np.nansum(before, axis=0) / np.where(known >= _FEWEST, known, np.nan)
            residual[same_day[place]] = values[same_day[place]] - mean
    return residual


def fit(values: Floats, weekdays: Sequence[int], ages: Sequence[int] = (0,)) -> tuple[Bands, Floats]:
    """The bands of values [windows, n_ages, n], and the residuals [windows, n] at age 0 by which they were found.

    The scale of foretelling a window from those before covers slow trends: they are usual.
    """
    tried = np.stack([residuals(values, weekdays, back) for back in LOOKBACKS])
    held = np.isfinite(tried[:, :, 0]).all(axis=0)  # [windows, n]: foretold by all of them
    errors = np.nansum(np.where(held, tried[:, :, 0] ** 2, np.nan), axis=1)
    best = np.argmin(errors, axis=0)
    chosen = np.take_along_axis(tried, best[None, None, None, :], axis=0)[0]
    looked_back = np.array(LOOKBACKS)[best]
    level = np.full((max(weekdays) + 1, *values.shape[1:]), np.nan)
    for day in set(weekdays):
        same_day = values[np.asarray(weekdays) == day]
        for signal, back in enumerate(looked_back):
            level[day, :, signal] = _mean(same_day[-back:, :, signal])
    return Bands(level, _deviation(chosen), looked_back, np.array(ages)), _tamed(chosen)[:, 0]


def _mean(values: Floats) -> Floats:
    known = np.isfinite(values).sum(axis=0)
    residual: Floats = np.nansum(values, axis=0) / np.where(known > 0, known, np.nan)
    return residual


def _tamed(errors: Floats) -> Floats:
    """Errors, none further off than an outlier may be; outliers are rare."""
    far = np.sort(np.where(np.isfinite(errors), np.abs(errors), np.inf), axis=0)  # those that are not known come last
    known = np.isfinite(errors).sum(axis=0, keepdims=True)
    middle, usual = (np.take_along_axis(far, (known * part).astype(np.int64), axis=0)[0] for part in (0.5, _USUAL))
    most = np.maximum(_OUTLIER * _TO_SD * middle, usual)
    residual: Floats = np.where((most > 0) & np.isfinite(errors), np.clip(errors, -most, most), errors)
    return residual


def _deviation(errors: Floats) -> Floats:
    """[n_ages, n] root mean square."""
    residual: Floats = np.sqrt(_mean(_tamed(errors) ** 2))
    return residual
