"""Looks for drift: what is usual is learned once a champion, then every window that is over is held against it."""

from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from prefect import task

from infra import events
from infra.installation import Installation, current
from models.drift.calibration import TooLittleHistoryError
from models.drift.decision import Situation, decide
from models.drift.events import BOUGHT, CLICKED, DAY
from models.drift.feed import FeedCheck, check_feed
from models.drift.history import History
from models.drift.judgement import judge
from models.drift.served import see
from models.drift.windows import kept
from tasks import drift_calibrations, drift_reports
from tasks.champion import Champion
from tasks.drift_calibrations import Stored, calibration_of
from tasks.drift_reports import Looked, Report, earlier, newest_report, reports_of, retrains
from tasks.ledger import hold
from tasks.report import flow_run_page
from tasks.report import tell as say
from tasks.score_users import NobodyAnswersError, champion_of
from tasks.tell_drift import Told, tell
from tasks.watch_feed import check_ledger
from tasks.watch_served import past_values, served_in, serving_seen
from tasks.watched_events import Watched, Watching, watching
from tasks.watched_history import learned_until, opened, usual

_THIN_USERS: Final = 30
"""Active users in a window, below which nothing is said of it."""
_LOCK: Final = "drift"


@task(description="Windows that are over, held against what is usual; asks for retraining where that is called for.")
def watch_drift(accept: str = "", accepted_by: str = "") -> dict[str, Any]:
    """`reports` of this run, the latest window last, none while nothing new is over; and a `note` of why drift cannot
    be watched yet: before the first promotion, and while there is too little history to learn from.

    `accept` is why the newest windows are usual from now on.
    """
    here = current()
    try:
        holder = champion_of(here)
        with hold(here.engine, _LOCK, wait=True), watching(here) as lake:
            stored, learned = _calibrated(here, lake, holder, accept, accepted_by)
            return {"reports": [] if learned and accept else _look(here, lake, stored), "note": ""}
    except (NobodyAnswersError, TooLittleHistoryError) as why:
        say(str(why))
        return {"reports": [], "note": str(why)}


def _calibrated(
    here: Installation, lake: Watching, holder: Champion, accept: str, accepted_by: str
) -> tuple[Stored, bool]:
    """The champion's calibration, and whether it was made now."""
    with here.engine.connect() as connection:
        stored = calibration_of(connection, holder["promotion_id"])
    if stored and not accept:
        return stored, False
    cut, by, why = learned_until(here, holder), "tailorbird", "a new champion"
    span = lake.span()
    if stored and accept:
        cut = stored.window(stored.complete(span[1] if span else 0))[0]
        by, why = accepted_by or "somebody", accept
    found, history = usual(here, lake, cut)
    with here.engine.begin() as connection:
        return drift_calibrations.store(connection, holder, found, history, by, why), True


def _look(here: Installation, lake: Watching, stored: Stored) -> list[Report]:
    """Every window that is over and was not looked at yet, one after the other: decisions rest on those before."""
    with here.engine.connect() as connection:
        done = {int(report["window_to"].timestamp()) for report in reports_of(connection, stored)}
        last = newest_report(connection)
    span = lake.span()
    newest = span[1] if span else 0
    numbers = [n for n in range(stored.complete(newest)) if stored.window(n)[1] not in done]
    ledger = check_ledger(here.engine, last["created_at"] if last else None)
    if not numbers:
        _tell_broken(here, [check for check in ledger if not check.passed], "before a window is over")
        return []
    windows = (stored.cut, stored.calibration.window_days, _before(stored, lake))
    end = stored.window(numbers[-1])[1]
    history, watched = opened(here, lake, windows, end, stored.calibration.edges)
    found = []
    for number in numbers:
        checks = ledger if number == numbers[-1] else []
        found += _one(here, stored, history, watched, number, checks, newest=number == numbers[-1])
    return found


def _before(stored: Stored, lake: Watching) -> int:
    """As many windows before the cut as the calibration has looked at, and the time before them."""
    span = lake.span()
    length = stored.calibration.window_days
    return kept((stored.cut - (span[0] if span else stored.cut)) // DAY, length)


def _one(
    here: Installation,
    stored: Stored,
    history: History,
    watched: Watched,
    number: int,
    ledger: list[FeedCheck],
    *,
    newest: bool,
) -> list[Report]:
    """Look at a window, store what was seen and decided, and tell people; nothing when another run was faster."""
    window, (begin, end) = history.cut + number, stored.window(number)
    served = served_in(here, begin, end)
    with here.engine.connect() as connection:
        others = see(served, past_values(connection, begin), stored.calibration.limit)
        others += serving_seen(here) if newest else []
        before, known = earlier(reports_of(connection, stored)), retrains(connection)
    counts = history.sums(window, window).values
    usual_counts = np.stack([history.sums(j, j).values for j in history.reference(history.cut)])
    feed = [*check_feed(counts, usual_counts, _days(history, window)), *ledger]
    situation = Situation(
        judge(stored.calibration, history, window, others),
        feed,
        _thin(history, window),
        before,
        newest,
        _labelled(history, window) / watched.share,
        known,
    )
    looked = Looked(stored, number, situation, decide(situation, here.settings.monitor, datetime.now(UTC)))
    with here.engine.begin() as connection:
        report = drift_reports.store(connection, looked)
    if report is None:
        return []
    _tell_prefect(here, report)
    return [tell(here, Told(stored, history, watched, window), report)]


def _days(history: History, window: int) -> tuple[int, int]:
    """On how many days of the window there are events, and on how many of those before at least."""
    counts = [len(np.unique(history.cut_out(j).at // DAY)) for j in (window, *history.reference(history.cut))]
    return counts[0], min(counts[1:])


def _thin(history: History, window: int) -> str:
    users = float(history.sums(window, window)["users"])
    return "" if users >= _THIN_USERS else f"{users:.0f} active users in the window: too few to judge it."


def _labelled(history: History, window: int) -> float:
    """Purchases since the cut; clicks in a shop that sells nothing."""
    types = sum(history.sums(j, j)["types"] for j in range(history.cut, window + 1))
    found = np.asarray(types)
    return float(found[BOUGHT] or found[CLICKED])


def _tell_prefect(here: Installation, report: Report) -> None:
    """Events that start a retraining or send an alert; what Prefect does not hear now is found by the reconciler."""
    about, page = {"page": flow_run_page(here)}, f"tailorbird.drift-report.{report['report_id']}"
    why = " ".join(report["reasons"])
    if report["request_id"] is not None:
        resource = events.request_resource(report["request_id"])
        events.tell(here.endpoints, events.DRIFT, resource, about | {"request": report["request_id"], "reason": why})
    if report["decision"] == "blocked":
        events.tell(here.endpoints, events.BROKEN_FEED, page, about | {"reason": why})
    low = [name for name in report["drivers"] if name.startswith("realised")]
    if low and report["verdict"] != "broken":
        told = f"{' and '.join(low)} of the lists that people had: below what is usual."
        events.tell(here.endpoints, events.LOW_ACCURACY, page, about | {"reason": told})


def _tell_broken(here: Installation, failed: list[FeedCheck], when: str) -> None:
    if failed:
        reason = f"The feed is broken, {when}: " + " ".join(f"{check.check}: {check.detail}." for check in failed)
        events.tell(here.endpoints, events.BROKEN_FEED, "tailorbird.feed", {"reason": reason, "page": ""})
