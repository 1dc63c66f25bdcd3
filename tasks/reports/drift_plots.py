"""Plots of a drift report: signals over time with their bands, and the distributions that moved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.monitoring.drift.attribution import Distribution
from models.primitives.escaping import for_plot
from tasks.reports.evaluation_plots import ALL, NEW, QUIET, drawn, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS: Final = 4
Report = Mapping[str, Any]


def plot_signals(past: Mapping[str, Sequence[float | None]], reports: Sequence[Report], path: Path) -> None:
    """Plot each signal with its band, in the calibration windows and since; values outside the band are red.

    A signal that never had a value is left out. A window without events may have no values at all.
    """
    plt = pyplot()
    names = (one["signal"] for one in reports[-1]["signals"])
    values = {name: (*past.get(name, ()), *(_entry(report, name).get("value") for report in reports)) for name in names}
    signals = [name for name, known in values.items() if any(value is not None for value in known)]
    rows = max(1, -(-len(signals) // _COLUMNS))
    size = (4 * _COLUMNS, 2.1 * rows)
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=size, layout="constrained", squeeze=False)
    for place, axis in enumerate(axes.flat):
        axis.set_visible(place < len(signals))
        if place < len(signals):
            _signal(axis, signals[place], past.get(signals[place], ()), reports)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _signal(axis: "Axes", name: str, past: Sequence[float | None], reports: Sequence[Report]) -> None:
    before = np.array(past, dtype=np.float64)  # None becomes NaN
    entries = [_entry(report, name) for report in reports]
    now, low, high = (
        np.array([entry.get(key) for entry in entries], dtype=np.float64) for key in ("value", "low", "high")
    )
    at = np.arange(1, len(now) + 1)
    axis.plot(np.arange(-len(before) + 1, 1), before, color=QUIET, lw=1)
    axis.plot(at, now, color=ALL, lw=1, marker="o", ms=3)
    reach = (*at[:1] - 0.5, *at[1:], *(at[-1:] + 0.5)) if len(at) > 1 else (0.5, 1.5)
    for bound in (low, high):
        if np.isfinite(bound).any():
            axis.plot(reach, np.append(bound, bound[-1:]), color=QUIET, ls="--", lw=1)
    out = np.array([name in report["drivers"] for report in reports])
    axis.plot(at[out], now[out], "o", color="tab:red", ms=5)
    axis.set_title(name, fontsize=9)
    axis.tick_params(labelsize=7)
    axis.axvline(0.5, color=QUIET, lw=0.6)


def _entry(report: Report, name: str) -> Mapping[str, Any]:
    return next((one for one in report["signals"] if one["signal"] == name), {})


def plot_distributions(moved: Sequence[Distribution], path: Path) -> None:
    """Plot each distribution before and now."""
    with drawn(path, "Distributions that moved", panels=len(moved), height=3.6) as panels:
        for axis, one in zip(panels if len(moved) > 1 else [panels], moved, strict=True):
            place = np.arange(len(one.bins))
            axis.bar(place - 0.2, one.then, 0.38, color=QUIET, label="before")
            axis.bar(place + 0.2, one.now, 0.38, color=NEW, label="now")
            axis.set_xticks(place, [for_plot(str(name)) for name in one.bins], rotation=45, ha="right", fontsize=7)
            axis.set(title=for_plot(one.about, 100), ylabel="share")
            axis.legend()
