"""Renders the page of an experiment, which works offline."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from models.primitives.json_types import JsonObject
from tasks.reports.audit_page import cell
from tasks.reports.evaluation_plots import QUIET, drawn
from tasks.reports.review_page import Plot, environment

_TEMPLATE: Final = "experiment.j2"
_CLIPPED: Final = 2.0
"""Early intervals are wider than any plot; more than three times as much is cut off."""


def plot_days(days: Sequence[JsonObject], metric: str, path: Path) -> None:
    """Plot the change of a metric with its interval at each readout, for each variant."""
    with drawn(path, f"Change of {metric.replace('_', ' ')}", ylabel="relative change") as axes:
        for variant in dict.fromkeys(row["variant"] for day in days for row in day["metrics"]):
            known = [
                (datetime.fromisoformat(day["until"]), row)
                for day in days
                for row in day["metrics"]
                if row["variant"] == variant and row["metric"] == metric and row["change"] is not None
            ]
            times = [moment for moment, _ in known]
            (line,) = axes.plot(times, [row["change"] for _, row in known], marker="o", label=variant)
            low, high = ([min(row[side], _CLIPPED) for _, row in known] for side in ("low", "high"))
            axes.fill_between(times, low, high, color=line.get_color(), alpha=0.2)
        axes.axhline(0, color=QUIET, ls="--")
        axes.tick_params(axis="x", rotation=30)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()


def render(experiment: JsonObject, readout: JsonObject, plot_path: Path) -> str:
    """Return the page as HTML, with the plot of `plot_days`. Names are escaped."""
    about = "An interval above 0 shows a gain, and one below 0 a loss. They hold on every day together."
    plot = Plot("Change by day", about, plot_path)
    page = environment().get_template(_TEMPLATE)
    return page.render(experiment=experiment, readout=readout, plot=plot, percent=_percent)


def markdown(readout: JsonObject, address: str) -> str:
    """Return the claims, the checks and the metrics in Markdown."""
    lines = [f"# {cell(readout['experiment'])}, until {cell(readout['until'])}", ""]
    lines += [f"**{cell(claim)}**" for claim in readout["claims"].values()]
    lines += ["", f"[The whole report]({address})", "", "| variant | metric | change | from | to | verdict |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for row in readout["metrics"]:
        bounds = " | ".join(_percent(row[name]) for name in ("change", "low", "high"))
        lines.append(f"| {cell(row['variant'])} | {cell(row['about'])} | {bounds} | {row['verdict']} |")
    lines.append("")
    for check in readout["checks"]:
        lines.append(f"- {'passed' if check['passed'] else '**failed**'}: {cell(check['detail'])}")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1%}"
