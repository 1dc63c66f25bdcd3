"""Looks for drift."""

from prefect import flow

from tasks.monitoring.drift.detect_drift import DriftRun, detect_drift
from tasks.orchestration import run_names
from tasks.orchestration.missed_schedules import drop_missed_slots
from tasks.orchestration.run_artifacts import show
from tasks.orchestration.table_columns import WINDOWS
from tasks.orchestration.windows_table import windows_table


@flow(flow_run_name=run_names.flow_run_name(run_names.monitor))
def monitor(accept: str = "", accepted_by: str = "") -> DriftRun:
    """Hold what has happened since the champion has learned against what is usual, window by window.

    What is usual is learned first where that was not done yet. Where drift is more than chance, and it is time, a
    retraining is asked for; a broken feed blocks and alerts instead.

    Args:
        accept: Leave it empty to look only. Else why what is seen now is usual from now on: all bands are learned again
            from the newest windows.
        accepted_by: Who accepts. It is recorded.
    """
    drop_missed_slots()
    result: DriftRun = detect_drift(accept, accepted_by)
    show("drift", *windows_table(result, accept), WINDOWS)
    return result
