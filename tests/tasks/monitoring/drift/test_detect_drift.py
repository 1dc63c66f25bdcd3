"""Tests drift detection on weeks of a simulated shop after its champion's cut, without Prefect and MLflow."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy import select, text

from infra.database.schema.monitoring_schema import drift_calibrations, drift_reports, retrain_requests
from infra.database.schema.schema import promotions
from infra.installation import Installation, current
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.datasets.load_dataset import stored_manifest
from tasks.monitoring.drift.detect_drift import detect_drift
from tests.tasks.weeks import CUT, KNOWN, Week, Weekly, events


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
