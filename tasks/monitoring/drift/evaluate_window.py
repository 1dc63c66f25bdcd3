"""Evaluates one window: computes its signals, decides, stores the report, and emits events."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from infra.database.clock import database_now
from infra.installation import Installation
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.feed_health import FeedCheck, check_feed
from models.monitoring.drift.retrain_policy import DriftSituation, decide
from models.monitoring.drift.signals.event_columns import BOUGHT, CLICKED, DAY
from models.monitoring.drift.signals.serving_signals import read_serving_signals
from models.monitoring.drift.window_verdict import WindowJudgement, judge
from tasks.monitoring.drift import reports
from tasks.monitoring.drift.emit_events import emit_report_events
from tasks.monitoring.drift.publish_report import Window, publish_report
from tasks.monitoring.drift.reports import DriftReport, EvaluatedWindow, recent_violations, reports_of, retrain_history
from tasks.monitoring.drift.serving_signals import past_values, served_in, serving_readings

_MIN_USERS: Final = 30
"""Active users that a window needs to be judged."""


def evaluate_window(
    installation: Installation, window: Window, ledger: Sequence[FeedCheck], *, newest: bool
) -> DriftReport | None:
    """Evaluate a window, store and publish its report; return None if another run was faster.

    `ledger` are checks of the feed beyond the window's events.
    """
    situation = _situation(installation, window, ledger, newest=newest)
    with installation.engine.begin() as connection:
        decision = decide(situation, installation.settings.monitor, database_now(connection))
        report = reports.store_report(connection, EvaluatedWindow(window.stored, window.number, situation, decision))
    if report is None:
        return None
    emit_report_events(installation, report)
    return publish_report(installation, window, report)


def _situation(
    installation: Installation, window: Window, ledger: Sequence[FeedCheck], *, newest: bool
) -> DriftSituation:
    history, place = window.history, window.place
    with installation.engine.connect() as connection:
        before, known = (
            recent_violations(reports_of(connection, window.stored)),
            retrain_history(connection),
        )
    return DriftSituation(
        judgement=_judged(installation, window, newest=newest),
        feed=[*_feed(history, place), *ledger],
        insufficient_data=_insufficient_data(history, place),
        earlier=before,
        newest=newest,
        labelled=_labelled(history, place) / window.sample.share,
        retrains=known,
    )


def _judged(installation: Installation, window: Window, *, newest: bool) -> WindowJudgement:
    calibration, (begin, end) = window.stored.calibration, window.stored.window(window.number)
    served = served_in(installation, begin, end)
    with installation.engine.connect() as connection:
        others = read_serving_signals(served, past_values(connection, begin), calibration.threshold)
    return judge(
        calibration, window.history, window.place, [*others, *(serving_readings(installation) if newest else [])]
    )


def _feed(history: History, place: int) -> list[FeedCheck]:
    usual = np.stack([history.sums(j, j).values for j in history.reference(history.cut)])
    return check_feed(history.sums(place, place).values, usual, _days(history, place))


def _days(history: History, window: int) -> tuple[int, int]:
    """Return the number of days with events in the window, and the smallest such number of a reference window."""
    counts = [len(np.unique(history.cut_out(j).at // DAY)) for j in (window, *history.reference(history.cut))]
    return counts[0], min(counts[1:])


def _insufficient_data(history: History, window: int) -> str:
    users = float(history.sums(window, window)["users"])
    return "" if users >= _MIN_USERS else f"{users:.0f} active users in the window: too few to judge it."


def _labelled(history: History, window: int) -> float:
    """Return the purchases since the cut; clicks in a shop that sells nothing."""
    types = sum(history.sums(j, j)["types"] for j in range(history.cut, window + 1))
    counts = np.asarray(types)
    return float(counts[BOUGHT] or counts[CLICKED])
