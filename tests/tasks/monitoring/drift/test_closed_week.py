"""A week in which the shop is closed has a report with a page, though no signal has a value."""

from pathlib import Path

from tasks.monitoring.drift.detect_drift import detect_drift, load_history
from tasks.monitoring.drift.event_sample import open_event_reader
from tasks.monitoring.drift.publish_report import Window, build_page, render
from tasks.monitoring.drift.reports import calibration_of
from tests.tasks.weeks import KNOWN, Weekly, end


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
