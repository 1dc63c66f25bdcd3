"""Looks for drift: what is usual is learned once a champion, then every window that is over is held against it."""

from typing import Any, Final

from prefect import task

from infra.installation import Installation, current
from infra.locks.advisory_locks import locked
from models.errors import TailorbirdError
from models.monitoring.drift.calibration.calibrate import TooLittleHistoryError
from tasks.monitoring.drift import calibrations
from tasks.monitoring.drift.calibrations import StoredCalibration, calibration_of
from tasks.monitoring.drift.emit_events import emit_feed_alert
from tasks.monitoring.drift.evaluate_window import evaluate_window
from tasks.monitoring.drift.event_sample import EventReader, open_event_reader
from tasks.monitoring.drift.ledger_health import check_ledger
from tasks.monitoring.drift.publish_report import Window
from tasks.monitoring.drift.reference_windows import calibrate_before, load_history, training_cut
from tasks.monitoring.drift.reports import Report, newest_report, reports_of
from tasks.orchestration.run_artifacts import log_info
from tasks.promotion.champion import Champion, NoChampionError, require_champion

_LOCK: Final = "drift"


@task(description="Windows that are over, held against what is usual; asks for retraining where that is called for.")
def detect_drift(accept: str = "", accepted_by: str = "") -> dict[str, Any]:
    """`reports` of this run, the latest window last, none while nothing new is over; and a `note` of why drift cannot
    be watched yet: before the first promotion, and while there is too little history to learn from.

    `accept` is why the newest windows are usual from now on.
    """
    if accept and not accepted_by.strip():
        raise TailorbirdError("Say who accepts what is seen now as usual (accepted_by): it is recorded.")
    installation = current()
    try:
        champion = require_champion(installation)
        with locked(installation.engine, _LOCK, wait=True), open_event_reader(installation) as reader:
            stored, calibrated_now = _calibrated(installation, reader, champion, accept, accepted_by)
            reports = [] if calibrated_now and accept else _evaluate_new_windows(installation, reader, stored)
            return {"reports": reports, "note": ""}
    except (NoChampionError, TooLittleHistoryError) as error:
        log_info(str(error))
        return {"reports": [], "note": str(error)}


def _calibrated(
    installation: Installation, reader: EventReader, champion: Champion, accept: str, accepted_by: str
) -> tuple[StoredCalibration, bool]:
    """The champion's calibration, and whether it was made now."""
    with installation.engine.connect() as connection:
        stored = calibration_of(connection, champion["promotion_id"])
    if stored and not accept:
        return stored, False
    cut, by, why = training_cut(installation, champion), "tailorbird", "a new champion"
    if stored and accept:
        cut = stored.window(stored.complete(reader.span[1]))[0]
        by, why = accepted_by, accept
    calibration, history = calibrate_before(installation, reader, cut)
    with installation.engine.begin() as connection:
        return calibrations.store_calibration(connection, champion, calibration, history, by, why), True


def _evaluate_new_windows(installation: Installation, reader: EventReader, stored: StoredCalibration) -> list[Report]:
    """Every window that is over and was not looked at yet, one after the other: decisions rest on those before."""
    with installation.engine.connect() as connection:
        done = {int(report["window_to"].timestamp()) for report in reports_of(connection, stored)}
        last = newest_report(connection)
    numbers = [n for n in range(stored.complete(reader.span[1])) if stored.window(n)[1] not in done]
    ledger = check_ledger(installation.engine, last["created_at"] if last else None)
    if not numbers:
        emit_feed_alert(installation, ledger)
        return []
    end, calibration = stored.window(numbers[-1])[1], stored.calibration
    history, watched = load_history(installation, reader, stored.cut, calibration.window_days, end, calibration.edges)
    reports = []
    for number in numbers:
        last_one = number == numbers[-1]
        window = Window(stored, history, watched, number)
        reports.append(evaluate_window(installation, window, ledger if last_one else [], newest=last_one))
    return [report for report in reports if report is not None]
