"""Tests drift detection on weeks of a simulated shop after its champion's cut, without Prefect and MLflow."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy import select, text

from expectations.batches import ContractViolationError
from infra.database.schema.monitoring_schema import drift_calibrations, drift_reports, retrain_requests
from infra.database.schema.schema import ingest_batches, promotions
from infra.installation import Installation, current
from infra.prefect_api import events as prefect_events
from models.monitoring.drift.window_verdict import SignalReading
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.datasets.load_dataset import stored_manifest
from tasks.monitoring.drift.detect_drift import detect_drift, load_history
from tasks.monitoring.drift.event_sample import open_event_reader
from tasks.monitoring.drift.publish_report import DriftPage, Window, build_page, markdown, render
from tasks.monitoring.drift.reports import DriftReport, calibration_of
from tests.recording_server import RecordingServer
from tests.tasks.weeks import CUT, KNOWN, Week, Weekly, end, events

READINGS = (
    SignalReading("buyers", "users who bought", 0.21, 0.2, 0.3, 0.4, counted=True),
    SignalReading("coverage", "items on lists", 0.5, None, None, None, counted=False),
    SignalReading("serving latency", "milliseconds", 4.25, None, 100.0, None, counted=False),
    SignalReading("serving errors", "answers", 0.25, None, 0.01, None, counted=False),
)


def test_a_steady_week_calls_for_nothing_and_names_the_reason(weekly: Weekly) -> None:
    weekly.ingest(events(Week(KNOWN)))
    [report] = detect_drift.fn()["reports"]
    assert (report["verdict"], report["decision"], report["window_from"]) == ("stable", "none", CUT)
    assert "all signals are in their usual range" in report["reasons"][0]
    assert all(check["passed"] for check in report["feed"])
    assert detect_drift.fn()["reports"] == []
    assert weekly.rows(retrain_requests) == []


def test_two_weeks_that_drifted_ask_once_though_two_monitors_look_at_once(weekly: Weekly) -> None:
    weekly.ingest(events(Week(KNOWN, shuffled=True)))
    [first] = detect_drift.fn()["reports"]
    assert (first["verdict"], first["decision"]) == ("drifted", "none")
    assert first["reasons"][-1] == "1 of the last 1 windows left their band: 2 of 5 are needed."
    weekly.ingest(events(Week(KNOWN + 1, shuffled=True)))
    barrier = Barrier(2)

    def detect(_: int) -> list[Any]:
        barrier.wait()
        return list(detect_drift.fn()["reports"])

    with ThreadPoolExecutor(2) as pool:
        [second] = [report for result in pool.map(detect, range(2)) for report in result]
    assert (second["verdict"], second["decision"]) == ("drifted", "retrain")
    assert {"popularity", "taste"} <= set(second["drivers"])
    [request] = weekly.rows(retrain_requests)
    assert (request.request_id, request.origin, request.report_id) == (
        second["request_id"],
        "drift",
        second["report_id"],
    )
    assert request.reason == " ".join(second["reasons"])
    weekly.ingest(events(Week(KNOWN + 2, shuffled=True), Week(KNOWN + 3, shuffled=True)))
    assert [report["decision"] for report in detect_drift.fn()["reports"]] == ["none", "none"]
    values = weekly.rows(drift_reports)[-1].reasons
    assert f"Request {request.request_id} is open: one retraining at a time." in values
    assert len(weekly.rows(retrain_requests)) == 1


def test_weeks_that_come_late_are_judged_in_their_order_and_the_newest_decides(weekly: Weekly) -> None:
    weekly.ingest(events(*(Week(number, shuffled=True) for number in range(KNOWN, KNOWN + 3))))
    reports = detect_drift.fn()["reports"]
    assert [report["window_from"] for report in reports] == [CUT + n * timedelta(days=7) for n in range(3)]
    assert [report["verdict"] for report in reports] == ["drifted"] * 3
    assert [report["decision"] for report in reports] == ["none", "none", "retrain"]
    assert reports[1]["reasons"][-1] == "A later window is complete already; its report decides."
    assert reports[2]["reasons"][-1] == "3 of the last 3 windows left their band, the latest among them."


def test_a_week_of_few_people_decides_nothing(weekly: Weekly) -> None:
    weekly.ingest(events(Week(KNOWN, people=25, visits=24.0)))
    [report] = detect_drift.fn()["reports"]
    assert (report["verdict"], report["decision"]) == ("insufficient_data", "none")
    assert report["reasons"] == ["25 active users in the window: too few to judge it."]


def test_the_present_range_can_be_made_usual_and_its_author_is_recorded(weekly: Weekly) -> None:
    drifted = [Week(number, shuffled=True) for number in range(KNOWN, KNOWN + 9)]
    weekly.ingest(events(*drifted[:8]))
    assert [report["verdict"] for report in detect_drift.fn()["reports"]] == ["drifted"] * 8
    assert detect_drift.fn("the range was renewed", "ann") == {"reports": [], "note": ""}
    first, second = weekly.rows(drift_calibrations)
    assert (first.made_by, first.reason, first.reference_to) == ("tailorbird", "a new champion", CUT)
    assert (second.made_by, second.reason) == ("ann", "the range was renewed")
    assert second.reference_to == CUT + timedelta(days=56)
    weekly.ingest(events(drifted[8]))
    [report] = detect_drift.fn()["reports"]
    assert (report["calibration_id"], report["verdict"]) == (second.calibration_id, "stable")


def until_noon(table: pa.Table, day: datetime) -> pa.Table:
    return table.filter(pc.less(table["at"], pa.scalar((day + timedelta(hours=12)).replace(tzinfo=None))))


def test_windows_are_whole_days_though_the_training_data_end_at_noon(weekly: Weekly) -> None:
    weekly.ingest(until_noon(events(Week(KNOWN)), CUT + timedelta(days=5)))  # up to noon of a Saturday
    build_dataset.fn(split_by())
    manifest = stored_manifest(weekly.here)
    assert manifest is not None
    with weekly.here.engine.begin() as connection:
        connection.execute(drift_calibrations.delete())
        connection.execute(promotions.update().values(dataset_version=manifest["version"]))
    assert detect_drift.fn() == {"reports": [], "note": ""}
    saturday, sunday = CUT + timedelta(days=5), CUT + timedelta(days=6)
    assert weekly.rows(drift_calibrations)[-1].reference_to == saturday
    weekly.ingest(until_noon(events(Week(KNOWN), Week(KNOWN + 1)), sunday + timedelta(days=6)))
    assert detect_drift.fn()["reports"] == []  # the seventh day is not over
    weekly.ingest(events(Week(KNOWN + 1)))
    [report] = detect_drift.fn()["reports"]
    assert (report["window_from"], report["window_to"]) == (sunday, sunday + timedelta(days=7))
    days = next(check for check in report["feed"] if check["check"] == "days")
    assert (days["value"], days["low"], report["verdict"]) == (7, 7, "stable")


def test_a_calibration_of_windows_that_begin_at_noon_is_made_again(weekly: Weekly) -> None:
    table, noon = drift_calibrations, CUT - timedelta(hours=12)
    with weekly.here.engine.begin() as connection:
        old = table.c.calibration.op("-")(text("'skipped_days'"))
        connection.execute(table.update().values(reference_to=noon, calibration=old))
    weekly.ingest(events(Week(KNOWN)))
    [report] = detect_drift.fn()["reports"]
    assert (report["window_from"], report["verdict"]) == (CUT, "stable")
    assert [row.reference_to for row in weekly.rows(table)] == [noon, CUT - timedelta(days=1)]
    assert detect_drift.fn()["reports"] == []


def test_too_little_history_is_reported_with_how_much_is_needed(
    weekly: Weekly, monkeypatch: pytest.MonkeyPatch
) -> None:
    with weekly.here.engine.begin() as connection:
        connection.execute(drift_calibrations.delete())
    monkeypatch.setenv("TAILORBIRD_MONITOR", '{"window_days": 28}')
    current.cache_clear()
    result = detect_drift.fn()
    assert result["reports"] == []
    assert result["note"].startswith("There are 272 days of events before the champion's cut, and a calibration needs ")
    assert "at least 1064 days in windows of 28 days" in result["note"]


def test_before_the_first_champion_there_is_nothing_to_watch(installation: Installation) -> None:
    assert detect_drift.fn()["note"] == "Nothing is ingested yet. Next: `tailorbird ingest MAPPING PATH…`."
    with installation.engine.connect() as connection:
        assert connection.execute(select(drift_calibrations)).all() == []


def test_a_closed_week_has_a_report_with_its_page(weekly: Weekly, tmp_path: Path) -> None:
    weekly.ingest(end(KNOWN + 2))  # the week before has one event, at its begin
    first, closed = detect_drift.fn()["reports"]
    assert "volume: 0 events, usually 1,817" in closed["reasons"]
    assert (closed["verdict"], closed["decision"]) == ("invalid_feed", "blocked")
    with weekly.here.engine.connect() as connection, open_event_reader(weekly.here) as reader:
        stored = calibration_of(connection, closed["promotion_id"])
        assert stored is not None
        until, edges = stored.window(1)[1], stored.calibration.edges
        history, sample = load_history(weekly.here, reader, stored.reference_to, 7, until, edges, skipped_days=0)
    page = build_page(weekly.here, Window(stored, history, sample, 1), [first, closed], tmp_path)
    assert "volume: 0 events" in render(page)
    assert [signal["signal"] for signal in closed["signals"] if signal["value"] is not None] == []


def test_a_long_pause_is_reported_by_its_first_and_its_newest_week(weekly: Weekly) -> None:
    weekly.ingest(pa.concat_tables([events(Week(KNOWN)), end(KNOWN + 100)]))
    seen = [(report["window_from"], report["verdict"]) for report in detect_drift.fn()["reports"]]
    weeks = {0: "stable", 1: "invalid_feed", 2: "invalid_feed", 99: "invalid_feed"}  # week 1 begins with an event
    assert seen == [(CUT + timedelta(days=7 * number), verdict) for number, verdict in weeks.items()]
    assert detect_drift.fn()["reports"] == []


def emptied(table: pa.Table, column: str) -> pa.Table:
    place = table.schema.get_field_index(column)
    return table.set_column(place, column, pa.nulls(len(table), table.schema.field(place).type))


def tenth(table: pa.Table) -> pa.Table:
    """Return one row of ten, and the last one."""
    included = np.arange(len(table)) % 10 == 0
    included[-1] = True
    return table.filter(pa.array(included))


def in_cents(table: pa.Table) -> pa.Table:
    return table.set_column(table.schema.get_field_index("paid"), "paid", pc.multiply(table["paid"], 100.0))


def without_views(table: pa.Table) -> pa.Table:
    return table.filter(pc.equal(table["what"], "purchase"))


BREAKS: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "a column has no values any more": (lambda t: emptied(t, "paid"), "nulls: value: 100.00% events without value"),
    "an optional column is gone": (lambda t: t.drop_columns(["visit"]), "nulls: session: "),
    "nine of ten events are lost": (tenth, "volume: "),
    "amounts come in another unit": (in_cents, "odd prices: "),
    "a type of event is not sent any more": (without_views, "type: view: 1 events of type view, usually "),
}


@pytest.mark.parametrize(("damaged", "reason"), BREAKS.values(), ids=BREAKS)
def test_a_break_blocks_and_is_named(weekly: Weekly, damaged: Callable[[pa.Table], pa.Table], reason: str) -> None:
    weekly.ingest(pa.concat_tables([damaged(events(Week(KNOWN))), end(KNOWN + 1)], promote_options="default"))
    [report] = detect_drift.fn()["reports"]
    assert (report["verdict"], report["decision"]) == ("invalid_feed", "blocked")
    assert report["reasons"][0] == "The feed is broken; no model is trained on it."
    assert any(why.startswith(reason) for why in report["reasons"][1:])
    assert weekly.rows(retrain_requests) == []


def test_a_file_that_lacks_a_column_it_has_to_have_blocks_until_a_sound_one_comes(weekly: Weekly) -> None:
    weekly.ingest(events(Week(KNOWN)))
    with pytest.raises(ContractViolationError, match="column 'product' is missing"):
        weekly.ingest(events(Week(KNOWN + 1)).drop_columns(["product"]))
    newest = select(ingest_batches.c.status).order_by(ingest_batches.c.started_at.desc()).limit(1)
    with weekly.here.engine.connect() as connection:
        assert connection.execute(newest).scalar() == "refused"
    [report] = detect_drift.fn()["reports"]
    assert (report["verdict"], report["decision"]) == ("invalid_feed", "blocked")
    assert "column 'product' is missing" in report["reasons"][1]
    weekly.ingest(events(Week(KNOWN + 1)))
    [report] = detect_drift.fn()["reports"]
    assert (report["verdict"], report["decision"]) == ("stable", "none")


def test_a_broken_feed_is_alerted_also_before_the_week_is_over(
    weekly: Weekly, recorder: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"{recorder.url}/api")
    current.cache_clear()
    with pytest.raises(ContractViolationError):
        weekly.ingest(events(Week(KNOWN)).drop_columns(["product"]))
    assert detect_drift.fn()["reports"] == []
    weekly.ingest(in_cents(events(Week(KNOWN))))
    [report] = detect_drift.fn()["reports"]
    early, late = recorder.events()
    assert {early["event"], late["event"]} == {prefect_events.BROKEN_FEED}
    assert "column 'product' is missing" in early["payload"]["reason"]
    assert "odd prices" in late["payload"]["reason"]
    assert late["resource"] == {"prefect.resource.id": f"tailorbird.drift-report.{report['report_id']}"}


def report_of_readings() -> DriftReport:
    return DriftReport(
        report_id=1,
        request_id=None,
        page=None,
        created_at=datetime(2026, 3, 9, tzinfo=UTC),
        calibration_id=1,
        promotion_id=1,
        model_version=2,
        window_from=datetime(2026, 3, 1, tzinfo=UTC),
        window_to=datetime(2026, 3, 8, tzinfo=UTC),
        verdict="stable",
        joint=1.0,
        joint_threshold=3.0,
        drivers=[],
        signals=[reading._asdict() for reading in READINGS],
        feed=[],
        decision="none",
        reasons=[],
    )


def test_each_signal_has_its_band_and_serving_its_limit() -> None:
    rows = markdown(report_of_readings(), None).splitlines()[-4:]
    assert rows == [
        "| buyers | 0.2100 | from 0.2000 to 0.3000 | 0.4000 |",
        "| coverage | 0.5000 | not known yet |  |",
        "| serving latency | 4.2500 | up to 100.0 |  |",
        "| serving errors | 0.2500 | up to 0.0100 | above its limit |",
    ]
    fitted: Any = SimpleNamespace(false_alarms=0.01, windows_between_alarms=90, window_days=7, windows=20)
    page = render(DriftPage(report_of_readings(), fitted, (), (), (), {}, {}))
    cells = [line.strip() for line in page.splitlines() if line.strip().startswith('<td class="number">')]
    assert [cell.removeprefix('<td class="number">').partition("<")[0] for cell in cells[1::3]] == [
        "from 0.2000 to 0.3000",
        "not known yet",
        "up to 100.0",
        "up to 0.0100",
    ]
    assert page.count("above its limit") == 1
