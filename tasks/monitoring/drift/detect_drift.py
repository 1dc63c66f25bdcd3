"""Detects drift: calibrates once per champion, then compares every complete window with the calibration.

The ledger states more about the feed than the events of a window: refused batches, quarantined rows, and pauses.
"""

from datetime import datetime
from itertools import pairwise
from typing import Any, Final, TypedDict

from prefect import task
from sqlalchemy import Engine, Row, text

from infra.database.schema.ledger_schema import COMMITTED, REFUSED
from infra.installation import Installation, current
from infra.locks import locked
from infra.overview.situation import NoChampionError
from models.errors import TailorbirdError
from models.monitoring.drift.calibration.bands import (
    Calibration,
    TooLittleHistoryError,
    calibrate,
    choose_length,
    ensure_enough_history,
    windows_used,
)
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.feed_health import FeedCheck, within
from models.monitoring.drift.signals.event_columns import DAY
from models.monitoring.drift.signals.user_counts import Edges
from tasks.datasets.load_dataset import manifest_of
from tasks.monitoring.drift.evaluate_window import evaluate_window
from tasks.monitoring.drift.event_sample import EventReader, EventSample, open_event_reader
from tasks.monitoring.drift.publish_report import Window
from tasks.monitoring.drift.reports import (
    DriftReport,
    StoredCalibration,
    calibration_of,
    emit_feed_alert,
    emit_waiting_orders,
    newest_report,
    reports_of,
    store_calibration,
)
from tasks.orchestration.run_artifacts import log_info
from tasks.promotion.champion import Champion, require_champion

_SEED = 7
_QUARANTINED: Final = 0.05
"""Rise of the quarantined share beyond which the feed has changed."""
_FEWEST: Final = 4
"""Batches that are needed to know how often they come."""
_LATE: Final = 3.0
"""A feed is late after this multiple of its longest pause."""
_SHORTEST: Final = 26.0
"""Hours: a daily feed may come two hours later than the day before."""
_BATCHES: Final = """
    SELECT source, status, detail, read, quarantined, started_at, finished_at, now() AS now
    FROM ingest_batches WHERE dataset = 'events' AND status <> 'pending' ORDER BY started_at
"""


def check_ledger(engine: Engine, since: datetime | None) -> list[FeedCheck]:
    """Compare the batches of events since the last report with earlier ones; without a report, the last batch."""
    with engine.connect() as connection:
        rows = list(connection.execute(text(_BATCHES)))
    if not rows:
        return []
    committed = [row for row in rows if row.status == COMMITTED]
    new = [row for row in committed if since is None or row.started_at >= since] or committed[-1:]
    old = [row for row in committed if row not in new]
    checks = [_refused(rows), *([_quarantined(new, old)] if new and old else [])]
    return [*checks, *([_pause(committed)] if len(committed) >= _FEWEST else [])]


def _refused(rows: list[Row[Any]]) -> FeedCheck:
    """Check for sources whose newest batch was refused, because these bring no more events."""
    newest = {row.source: row for row in rows}
    refused = [row for row in newest.values() if row.status == REFUSED]
    detail = "; ".join(f"{row.source}: {row.detail or 'refused'}" for row in refused)
    return within("batches", len(refused), None, 0.0, detail or "no source's newest batch was refused")


def _quarantined(new: list[Row[Any]], old: list[Row[Any]]) -> FeedCheck:
    now, before = (sum(r.quarantined for r in rows) / max(1, sum(r.read for r in rows)) for rows in (new, old))
    detail = f"{now:.2%} of the rows are in quarantine, {before:.2%} before"
    return within("quarantine", now, None, before + _QUARANTINED, detail)


def _pause(committed: list[Row[Any]]) -> FeedCheck:
    ends = sorted(row.finished_at for row in committed)
    pauses = [(b - a).total_seconds() / 3_600 for a, b in pairwise(ends)]
    hours = (committed[-1].now - ends[-1]).total_seconds() / 3_600
    high = max(_SHORTEST, _LATE * max(pauses))
    return within("freshness", hours, None, high, f"no batch came for {hours:.1f} hours, at most {high:.1f} is usual")


class DriftRun(TypedDict):
    """The result of one run."""

    reports: list[DriftReport]
    """Reports of the windows that this run evaluated, the latest last."""
    note: str
    """Why drift cannot be monitored yet, else empty."""


@task(description="Compare complete windows with the calibration, and request a retraining if they drift.")
def detect_drift(accept: str = "", accepted_by: str = "") -> DriftRun:
    """Evaluate the windows that are complete and have no report yet.

    Before the first promotion, and with too little history, the result has a `note` and no reports. A text in `accept`
    makes the newest windows usual from now on: the bands are calibrated again, and the text is the recorded reason.
    """
    if accept and not accepted_by.strip():
        raise TailorbirdError(
            "`accept` needs `accepted_by`, the person who accepts the newest windows as usual: it is recorded."
        )
    installation = current()
    try:
        champion = require_champion(installation)
        with locked(installation.engine, "drift", wait=True), open_event_reader(installation) as reader:
            emit_waiting_orders(installation, reader.waiting_orders(reader.span[1] - DAY))
            stored, calibrated_now = _calibrated(installation, reader, champion, accept, accepted_by)
            reports = [] if calibrated_now and accept else _evaluate_new_windows(installation, reader, stored)
            return {"reports": reports, "note": ""}
    except (NoChampionError, TooLittleHistoryError) as error:
        log_info(str(error))
        return {"reports": [], "note": str(error)}


def _calibrated(
    installation: Installation, reader: EventReader, champion: Champion, accept: str, accepted_by: str
) -> tuple[StoredCalibration, bool]:
    """Return the champion's calibration, and whether it was made now."""
    with installation.engine.connect() as connection:
        stored = calibration_of(connection, champion["promotion_id"])
    if stored and not accept and stored.cut % DAY == 0:
        return stored, False
    cut, by, why = int(manifest_of(installation, champion["dataset_version"])["as_of"]), "tailorbird", "a new champion"
    if stored:
        cut = stored.window(stored.complete(reader.span[1]) if accept else 0)[0]
        by, why = (accepted_by, accept) if accept else ("tailorbird", "windows are whole days now")
    calibration, history = calibrate_before(installation, reader, cut)
    with installation.engine.begin() as connection:
        return store_calibration(connection, champion, calibration, history, by, why), True


def _evaluate_new_windows(
    installation: Installation, reader: EventReader, stored: StoredCalibration
) -> list[DriftReport]:
    """Evaluate every complete window after the last report, in order, because decisions depend on earlier windows."""
    with installation.engine.connect() as connection:
        done = max((int(report["window_to"].timestamp()) for report in reports_of(connection, stored)), default=0)
        last = newest_report(connection)
    numbers = [n for n in range(stored.complete(reader.span[1])) if stored.window(n)[1] > done]
    ledger = check_ledger(installation.engine, last["created_at"] if last else None)
    if not numbers:
        emit_feed_alert(installation, ledger)
        return []
    end, calibration = stored.window(numbers[-1])[1], stored.calibration
    length, edges, skipped = calibration.window_days, calibration.edges, calibration.skipped_days
    history, sample = load_history(installation, reader, stored.reference_to, length, end, edges, skipped_days=skipped)

    def is_empty(number: int) -> bool:
        return not len(sample.events.between(*stored.window(number)).at)

    reports = []
    for number in numbers:
        # A pause of years, as before the first clicks on old data, is reported by its first week and the newest one.
        if number and number != numbers[-1] and is_empty(number) and is_empty(number - 1):
            continue
        last_one = number == numbers[-1]
        window = Window(stored, history, sample, number)
        reports.append(evaluate_window(installation, window, ledger if last_one else [], newest=last_one))
    return [report for report in reports if report is not None]


def calibrate_before(installation: Installation, reader: EventReader, cut: int) -> tuple[Calibration, History]:
    """Calibrate the bands with the whole days before a cut. Raises TooLittleHistoryError.

    The last window ends at the last midnight before the cut, because windows that begin at the time of day of the last
    event touch one date more than their days.
    """
    midnight = cut // DAY * DAY
    config, days = installation.settings.monitor, _days(reader, midnight)
    length = config.window_days or choose_length(days, reader.active(midnight), config.least_users)
    ensure_enough_history(days, length)
    history, _ = load_history(installation, reader, midnight, length, midnight, skipped_days=int(cut > midnight))
    return calibrate(history, config.days_between_false_retrains / length, _SEED), history


def load_history(
    installation: Installation,
    reader: EventReader,
    reference_to: int,
    length: int,
    end: int,
    edges: Edges | None = None,
    *,
    skipped_days: int,
) -> tuple[History, EventSample]:
    """Return the windows used for calibration and those after the cut up to `end`, of `length` days each."""
    before = windows_used(_days(reader, reference_to), length)
    start = reference_to - before * length * DAY
    sample = reader.read(start, end, installation.settings.monitor.sampled_events)
    shape = start, length, before, len(sample.users), edges or {}, skipped_days
    return History(sample.events, sample.item_table, *shape), sample


def _days(reader: EventReader, cut: int) -> int:
    """Return the days of history before a cut; 0 without events."""
    first = reader.span[0]
    return (cut - first) // DAY if first else 0
