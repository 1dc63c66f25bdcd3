"""Detects drift, and counts what recommendations earned."""

from prefect import flow

from tasks.monitoring.drift.detect_drift import DriftRun, detect_drift
from tasks.monitoring.recommendation_weeks import count_weeks
from tasks.orchestration import run_names
from tasks.orchestration.missed_schedules import drop_missed_slots
from tasks.orchestration.run_artifacts import WINDOWS, show, windows_table


@flow(flow_run_name=run_names.flow_run_name(run_names.monitor))
def monitor(accept: str = "", accepted_by: str = "") -> DriftRun:
    """Compare the events since the champion's training with its calibration, window by window.

    The first run calibrates. If drift is more than chance, and a retraining is due, the run requests one; a broken feed
    blocks it and sends an alert instead. The run also counts what recommendations earned, for the operator page.

    Args:
        accept: Leave it empty to compare. Otherwise the reason why the present behaviour is normal from now on: all
            bands are calibrated again on the newest windows.
        accepted_by: The person who accepts; it is recorded.
    """
    drop_missed_slots()
    report: DriftRun = detect_drift(accept, accepted_by)
    show("drift", *windows_table(report, accept), WINDOWS)
    count_weeks()
    return report
