"""Calibrates the drift bands on a shop's own history, for a chosen rate of false requests."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np

from models.errors import TailorbirdError
from models.monitoring.drift.calibration.bands import Bands, fit, joint_threshold
from models.monitoring.drift.calibration.windows import History, ages, windows_before
from models.monitoring.drift.signals.event_columns import Floats
from models.monitoring.drift.signals.signal_table import NAMES, values
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


class TooLittleHistoryError(TailorbirdError):
    """There are too few windows to calibrate the bands."""


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
