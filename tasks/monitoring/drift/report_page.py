"""What people read of a window: one page that works offline, and its short form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from models.monitoring.drift.calibration.calibrate import Calibration
from tasks.monitoring.drift.reports import Report
from tasks.reports.audit_page import cell
from tasks.reports.review_page import Plot, environment

_TITLES: Final = {
    "steady": "Nothing is out of the usual.",
    "violated": "More has changed than chance explains.",
    "broken": "The feed is broken: nothing is learned from it.",
    "thin": "Too little happened to say anything.",
}


@dataclass(frozen=True)
class DriftPage:
    """Everything on it."""

    report: Report
    calibration: Calibration
    plots: Sequence[Plot]
    moved: Sequence[str]
    segments: Sequence[Mapping[str, Any]]
    items: Mapping[str, Sequence[Mapping[str, Any]]]
    links: Mapping[str, str]

    @property
    def span(self) -> str:
        """The first and the last day of the window."""
        last = self.report["window_to"] - timedelta(days=1)
        return f"{self.report['window_from']:%-d %B %Y} to {last:%-d %B %Y}"

    @property
    def title(self) -> str:
        """What it comes to."""
        asked = " Retraining was asked for." if self.report["request_id"] else ""
        return _TITLES[self.report["verdict"]] + asked


def render(page: DriftPage) -> str:
    """The page as HTML: whatever items and segments are called, it is text and nothing else."""
    text: str = environment().get_template("drift.j2").render(page=page, number=_number, band=_band)
    return text


def markdown(report: Report, address: str | None) -> str:
    """The verdict, the reasons, the signals that left their bands, and where the page is."""
    lines = [f"**{_TITLES[report['verdict']]}**", "", *(f"- {cell(reason)}" for reason in report["reasons"]), ""]
    lines += [f"[The whole report]({address})", ""] if address else []
    lines += ["| signal | value | band | deviation |", "| --- | --- | --- | --- |"]
    for seen in sorted(report["signals"], key=lambda one: -(one["deviation"] or 0)):
        mark = " ▲" if seen["signal"] in report["drivers"] else ""
        band = _band(seen) if seen["counted"] else "not known yet"
        lines.append(f"| {seen['signal']}{mark} | {_number(seen['value'])} | {band} | {_number(seen['deviation'])} |")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def _band(seen: Mapping[str, Any]) -> str:
    if seen["low"] is None:
        return f"up to {_number(seen['high'])}"
    return f"from {_number(seen['low'])}" + (f" to {_number(seen['high'])}" if seen["high"] is not None else "")
