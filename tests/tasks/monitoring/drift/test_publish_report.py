"""The report of a window as Markdown and as a page."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from models.monitoring.drift.window_verdict import SignalReading
from tasks.monitoring.drift.publish_report import DriftPage, markdown, render
from tasks.monitoring.drift.reports import DriftReport

READINGS = (
    SignalReading("buyers", "users who bought", 0.21, 0.2, 0.3, 0.4, counted=True),
    SignalReading("coverage", "items on lists", 0.5, None, None, None, counted=False),
    SignalReading("serving latency", "milliseconds", 4.25, None, 100.0, None, counted=False),
    SignalReading("serving errors", "answers", 0.25, None, 0.01, None, counted=False),
)


def report() -> DriftReport:
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
    rows = markdown(report(), None).splitlines()[-4:]
    assert rows == [
        "| buyers | 0.2100 | from 0.2000 to 0.3000 | 0.4000 |",
        "| coverage | 0.5000 | not known yet |  |",
        "| serving latency | 4.2500 | up to 100.0 |  |",
        "| serving errors | 0.2500 | up to 0.0100 | above its limit |",
    ]
    fitted: Any = SimpleNamespace(false_alarms=0.01, windows_between_alarms=90, window_days=7, windows=20)
    page = render(DriftPage(report(), fitted, (), (), (), {}, {}))
    cells = [line.strip() for line in page.splitlines() if line.strip().startswith('<td class="number">')]
    assert [cell.removeprefix('<td class="number">').partition("<")[0] for cell in cells[1::3]] == [
        "from 0.2000 to 0.3000",
        "not known yet",
        "up to 100.0",
        "up to 0.0100",
    ]
    assert page.count("above its limit") == 1
