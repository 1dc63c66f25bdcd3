"""Renders the report of a window as a page that works offline, and as short Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

from models.monitoring.drift.attribution import SegmentMoves
from models.monitoring.drift.calibration.calibrate import Calibration
from models.monitoring.drift.retrain_policy import Verdict
from models.monitoring.drift.window_verdict import SignalJson
from tasks.monitoring.drift.reports import DriftReport
from tasks.reports.audit_page import cell
from tasks.reports.review_page import Plot, environment

_TITLES: Final[dict[Verdict, str]] = {
    "stable": "All signals are in their usual range.",
    "drifted": "The signals have changed more than chance explains.",
    "invalid_feed": "The feed is broken: no model is trained on it.",
    "insufficient_data": "The window has too few users to judge it.",
}


class MovedItem(NamedTuple):
    """An item whose share of the interactions changed."""

    title: str
    change: float


@dataclass(frozen=True)
class DriftPage:
    """The contents of a report page."""

    report: DriftReport
    calibration: Calibration
    plots: Sequence[Plot]
    moved: Sequence[str]
    segments: Sequence[SegmentMoves]
    items: Mapping[str, Sequence[MovedItem]]
    links: Mapping[str, str]

    @property
    def span(self) -> str:
        """The first and the last day of the window, in words."""
        last = self.report["window_to"] - timedelta(days=1)
        return f"{self.report['window_from']:%-d %B %Y} to {last:%-d %B %Y}"

    @property
    def title(self) -> str:
        """The verdict in a sentence, and whether it made a request."""
        suffix = " A retraining was requested." if self.report["request_id"] else ""
        return _TITLES[self.report["verdict"]] + suffix


def render(page: DriftPage) -> str:
    """Return the page as HTML, with all names escaped."""
    template = environment().get_template("drift.j2")
    text: str = template.render(page=page, number=_number, band=_band, deviation=_deviation)
    return text


def markdown(report: DriftReport, address: str | None) -> str:
    """Return the verdict, the reasons, the signals with their bands, and a link to the page."""
    lines = [f"**{_TITLES[report['verdict']]}**", "", *(f"- {cell(reason)}" for reason in report["reasons"]), ""]
    lines += [f"[The whole report]({address})", ""] if address else []
    lines += ["| signal | value | band | deviation |", "| --- | --- | --- | --- |"]
    for reading in sorted(report["signals"], key=lambda reading: -(reading["deviation"] or 0)):
        mark = " ▲" if reading["signal"] in report["drivers"] else ""
        values = _number(reading["value"]), _band(reading), _deviation(reading)
        lines.append(f"| {reading['signal']}{mark} | {' | '.join(values)} |")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def _deviation(reading: SignalJson) -> str:
    """Return the deviation of a signal; of serving, whether it is beyond its limit."""
    value, high = reading["value"], reading["high"]
    if reading["counted"] or value is None or high is None:
        return _number(reading["deviation"])
    return "above its limit" if value > high else ""


def _band(reading: SignalJson) -> str:
    """Return the band of a signal; latency and errors of serving have limits that send alerts of their own."""
    if reading["low"] is None and reading["high"] is None:
        return "not known yet"
    if reading["low"] is None:
        return f"up to {_number(reading['high'])}"
    return f"from {_number(reading['low'])}" + (
        f" to {_number(reading['high'])}" if reading["high"] is not None else ""
    )
