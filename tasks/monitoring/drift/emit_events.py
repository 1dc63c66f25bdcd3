"""Emits Prefect events about drift, which start a retraining or send an alert."""

from collections.abc import Sequence

from infra.installation import Installation
from infra.prefect_api import events
from models.monitoring.drift.feed_health import FeedCheck
from models.monitoring.drift.retrain_policy import INVALID_FEED
from tasks.lake.unconfirmed_orders import Waiting
from tasks.monitoring.drift.reports import DriftReport
from tasks.orchestration.run_artifacts import flow_run_page


def emit_report_events(installation: Installation, report: DriftReport) -> None:
    """Emit the events of a report. The reconciler finds a request whose event is lost."""
    payload, page = {"page": flow_run_page(installation)}, f"tailorbird.drift-report.{report['report_id']}"
    why = " ".join(report["reasons"])
    if report["request_id"] is not None:
        resource = events.request_resource(report["request_id"])
        events.try_emit(
            installation.endpoints, events.DRIFT, resource, payload | {"request": report["request_id"], "reason": why}
        )
    if report["decision"] == "blocked":
        events.try_emit(installation.endpoints, events.BROKEN_FEED, page, payload | {"reason": why})
    signals = [name for name in report["drivers"] if name.startswith("realised")]
    if signals and report["verdict"] != INVALID_FEED:
        message = f"{' and '.join(signals)} of the lists that people had: below the usual range."
        events.try_emit(installation.endpoints, events.LOW_ACCURACY, page, payload | {"reason": message})


def emit_waiting_orders(installation: Installation, waiting: Sequence[Waiting]) -> None:
    """Alert about items that fresh visitors of pages bought unusually often."""
    if waiting:
        most = waiting[0]
        others = f", and {len(waiting) - 1} other items were bought so" if len(waiting) > 1 else ""
        reason = (
            f"In the last day {most.purchases} purchases of item {most.item_id} by fresh visitors of the key "
            f"{most.source} exceed what counts{others}. They wait until a server's key or a file states the orders."
        )
        payload = {"reason": reason, "page": flow_run_page(installation)}
        events.try_emit(installation.endpoints, events.UNCONFIRMED_ORDERS, "tailorbird.orders", payload)


def emit_feed_alert(installation: Installation, checks: Sequence[FeedCheck]) -> None:
    """Alert about failed checks of the ledger while no window is complete."""
    failed = [check for check in checks if not check.passed]
    if failed:
        reason = "The feed is broken: " + " ".join(f"{check.check}: {check.detail}." for check in failed)
        events.try_emit(installation.endpoints, events.BROKEN_FEED, "tailorbird.feed", {"reason": reason, "page": ""})
