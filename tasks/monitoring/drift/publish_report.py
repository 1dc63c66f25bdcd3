"""Publishes the report of a window: a page with plots in MLflow, and a short form on the Prefect run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import numpy as np
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from sqlalchemy import select

from infra.database.schema.promotion_rows import newest_promotion
from infra.database.schema.schema import items as goods
from infra.database.schema.schema import promotions
from infra.installation import Installation
from infra.registry.client import Registry
from models.monitoring.drift.attribution import (
    SegmentMoves,
    distributions,
    items_with_changed_share,
    signals_by_segment,
)
from models.monitoring.drift.calibration.bands import Calibration
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.retrain_policy import Verdict
from models.monitoring.drift.signals.event_columns import Ints
from models.primitives.json_types import JsonObject
from tasks.monitoring.drift import reports
from tasks.monitoring.drift.event_sample import EventSample
from tasks.monitoring.drift.reports import DriftReport, StoredCalibration, reports_of
from tasks.orchestration.run_artifacts import flow_run_page, key_of
from tasks.reports.audit_page import cell
from tasks.reports.drift_plots import plot_distributions, plot_signals
from tasks.reports.review_page import Plot, environment
from tasks.scoring.batch_work import segments_of

_FILE: Final = "drift.html"
_SIGNALS: Final = (
    "signals.png",
    "Signals over time",
    "Grey: what was learned from. Blue: since then. Dashed: the band. Red: out of it.",
)
_MOVED: Final = ("moved.png", "Distributions that moved", "Those behind the signals that left their bands.")
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
    return template.render(page=page, number=_number, band=_band, deviation=_deviation)


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


def _deviation(reading: JsonObject) -> str:
    """Return the deviation of a signal; of serving, whether it is beyond its limit."""
    value, high = reading["value"], reading["high"]
    if reading["counted"] or value is None or high is None:
        return _number(reading["deviation"])
    return "above its limit" if value > high else ""


def _band(reading: JsonObject) -> str:
    """Return the band of a signal; latency and errors of serving have limits that send alerts of their own."""
    if reading["low"] is None and reading["high"] is None:
        return "not known yet"
    if reading["low"] is None:
        return f"up to {_number(reading['high'])}"
    return f"from {_number(reading['low'])}" + (
        f" to {_number(reading['high'])}" if reading["high"] is not None else ""
    )


@dataclass(frozen=True)
class Window:
    """A window after the cut, with its calibration, history and sample."""

    stored: StoredCalibration
    history: History
    sample: EventSample
    number: int
    """0 is the first window after the cut."""

    @property
    def place(self) -> int:
        """Position of the window in the history."""
        return self.history.cut + self.number


def publish_report(installation: Installation, window: Window, report: DriftReport) -> DriftReport:
    """Store the page of a report in MLflow and return the report with its address. Skip the page without MLflow."""
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    with installation.engine.connect() as connection:
        known = reports_of(connection, window.stored)
    address = None
    if registry.is_available:
        address = _stored_in_mlflow(installation, registry, window, known)
        with installation.engine.begin() as connection:
            report = reports.update_report(connection, report["report_id"], page=address)
    if FlowRunContext.get() is not None:
        day = f"{report['window_to']:%Y-%m-%d}"
        about = f"Drift in the window up to {day}"
        create_markdown_artifact(markdown(report, address), key=key_of(f"drift {day}"), description=about)
    return report


def _stored_in_mlflow(
    installation: Installation, registry: Registry, window: Window, known: Sequence[DriftReport]
) -> str:
    report = known[-1]
    tags = {"stage": "monitor", "verdict": report["verdict"], "decision": report["decision"]}
    tags |= {"model_version": str(report["model_version"])}
    name = f"drift {report['window_from']:%Y-%m-%d} to {report['window_to']:%Y-%m-%d}"
    with (
        TemporaryDirectory() as scratch,
        registry.active_run(name, f"drift report {report['report_id']}", {}, tags) as run_id,
    ):
        folder = Path(scratch)
        page = build_page(installation, window, known, folder)
        (folder / _FILE).write_text(render(page))
        registry.log_folder(run_id, folder)
        signals = {key_of(s["signal"]).replace("-", "_"): s["value"] for s in report["signals"]}
        figures = {f"signals/{name}": value for name, value in signals.items() if value is not None}
        registry.log(run_id, figures | {"joint": report["joint"], "joint_threshold": report["joint_threshold"]})
    return registry.artifact_page(run_id, _FILE)


def build_page(installation: Installation, window: Window, known: Sequence[DriftReport], folder: Path) -> DriftPage:
    """Return the page of the last report, and draw its plots into a folder."""
    report, history = known[-1], window.history
    now, usual = history.sums(window.place, history.cut), history.usual(history.cut)
    moved = distributions(report["drivers"], now, usual, history.edges)
    plot_signals(window.stored.calibration.past, known, folder / _SIGNALS[0])
    if moved:
        plot_distributions(moved, folder / _MOVED[0])
    plots = [Plot(title, about, folder / name) for name, title, about in (_SIGNALS, _MOVED)]
    rows = _segments(installation, window, report) if report["drivers"] else []
    links = {"the Prefect run": flow_run_page(installation)} if flow_run_page(installation) else {}
    names = list(rows[0]["moved"]) if rows else []
    return DriftPage(report, window.stored.calibration, plots, names, rows, _items(installation, window), links)


def _segments(installation: Installation, window: Window, report: DriftReport) -> list[SegmentMoves]:
    """Return the drivers by segment of the champion's data set."""
    with installation.engine.connect() as connection:
        promoted = newest_promotion(connection, promotions.c.promotion_id == window.stored.promotion_id)
    assert promoted is not None  # promotions are never deleted
    known = segments_of(installation, promoted["dataset_version"], window.sample.users)
    segment = np.array([*known.names[:-1], ""], dtype=np.str_)[known.of]
    history = window.history
    before = [history.counted(j, history.cut) for j in history.reference(history.cut)]
    now = history.counted(window.place, history.cut)
    return signals_by_segment(report["drivers"], now, before, history.usual(history.cut), segment)


def _items(installation: Installation, window: Window) -> dict[str, list[MovedItem]]:
    history = window.history
    gained, lost, change = items_with_changed_share(history.interactions(window.place), history.popular(history.cut))
    ids = window.sample.items[np.concatenate([gained, lost])].tolist()
    with installation.engine.connect() as connection:
        rows = connection.execute(select(goods.c.item_id, goods.c.title).where(goods.c.item_id.in_(ids)))
        titles = {item: title or item for item, title in rows.tuples()}

    def changes(codes: Ints) -> list[MovedItem]:
        names = window.sample.items[codes].tolist()
        return [MovedItem(titles.get(item, item), change[code]) for item, code in zip(names, codes, strict=True)]

    return {"Gained most": changes(gained), "Lost most": changes(lost)}
