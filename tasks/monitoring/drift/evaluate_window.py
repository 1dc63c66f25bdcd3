"""Looks at one window: what is seen in it, what is decided, and who is told."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from infra.database.clock import database_now
from infra.installation import Installation
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.feed_health import FeedCheck, check_feed
from models.monitoring.drift.retrain_policy import Situation, decide
from models.monitoring.drift.signals.event_columns import BOUGHT, CLICKED, DAY
from models.monitoring.drift.signals.serving_signals import see
from models.monitoring.drift.window_verdict import Judgement, judge
from tasks.monitoring.drift import reports
from tasks.monitoring.drift.emit_events import tell_of
from tasks.monitoring.drift.publish_report import Window, tell
from tasks.monitoring.drift.reports import Looked, Report, earlier, reports_of, retrains
from tasks.monitoring.drift.serving_signals import past_values, served_in, serving_seen

_THIN_USERS: Final = 30
"""Active users in a window, below which nothing is said of it."""


def look_at_window(
    installation: Installation, window: Window, ledger: Sequence[FeedCheck], *, newest: bool
) -> Report | None:
    """Store what was seen in a window and decided, and tell people; None when another run was faster.

    `ledger` are checks of the feed beyond the window's events.
    """
    situation = _situation(installation, window, ledger, newest=newest)
    with installation.engine.begin() as connection:
        decision = decide(situation, installation.settings.monitor, database_now(connection))
        report = reports.store(connection, Looked(window.stored, window.number, situation, decision))
    if report is None:
        return None
    tell_of(installation, report)
    return tell(installation, window, report)


def _situation(installation: Installation, window: Window, ledger: Sequence[FeedCheck], *, newest: bool) -> Situation:
    history, place = window.history, window.place
    with installation.engine.connect() as connection:
        before, known = earlier(reports_of(connection, window.stored)), retrains(connection)
    return Situation(
        judgement=_judged(installation, window, newest=newest),
        feed=[*_feed(history, place), *ledger],
        thin=_thin(history, place),
        earlier=before,
        newest=newest,
        labelled=_labelled(history, place) / window.watched.share,
        retrains=known,
    )


def _judged(installation: Installation, window: Window, *, newest: bool) -> Judgement:
    calibration, (begin, end) = window.stored.calibration, window.stored.window(window.number)
    served = served_in(installation, begin, end)
    with installation.engine.connect() as connection:
        others = see(served, past_values(connection, begin), calibration.limit)
    return judge(calibration, window.history, window.place, [*others, *(serving_seen(installation) if newest else [])])


def _feed(history: History, place: int) -> list[FeedCheck]:
    usual = np.stack([history.sums(j, j).values for j in history.reference(history.cut)])
    return check_feed(history.sums(place, place).values, usual, _days(history, place))


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
