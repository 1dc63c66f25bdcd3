"""Evaluates one window: computes its signals, decides, stores the report, and emits events."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
from sqlalchemy import Connection, text

from infra.database.engine import database_now
from infra.installation import Installation
from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.feed_health import FeedCheck, check_feed
from models.monitoring.drift.retrain_policy import DriftSituation, decide
from models.monitoring.drift.signals.event_columns import BOUGHT, CLICKED, DAY
from models.monitoring.drift.window_verdict import SignalReading, WindowJudgement, judge, read_serving_signals
from tasks.monitoring.drift import reports
from tasks.monitoring.drift.publish_report import Window, publish_report
from tasks.monitoring.drift.reports import (
    DriftReport,
    emit_report_events,
    recent_violations,
    reports_of,
    retrain_history,
)
from tasks.monitoring.realised_accuracy import realised_accuracy
from tasks.monitoring.serving_metrics import current_metrics

_MIN_USERS: Final = 30
"""Active users that a window needs to be judged."""
PLACEMENT: Final = "home"
_FEWEST: Final = 50
"""Buyers with a list that a realised figure needs."""
_SHOWN: Final = """
    SELECT summary, (SELECT first.summary FROM recommendation_batches AS first
                     WHERE first.placement = batch.placement AND first.model_version = batch.model_version
                     AND first.summary ? 'scores' ORDER BY first.batch_id LIMIT 1) AS first
    FROM publication_periods JOIN recommendation_batches AS batch USING (batch_id)
    WHERE publication_periods.placement = :placement AND publication_periods.published_at < to_timestamp(:end)
    ORDER BY publication_periods.published_at DESC, period_id DESC LIMIT 1
"""
_PAST: Final = """
    SELECT reading.signal, reading.value
    FROM (SELECT DISTINCT ON (window_to) window_to, signals FROM drift_reports
          WHERE window_to <= to_timestamp(:start) ORDER BY window_to DESC, report_id DESC LIMIT 30) AS report
    CROSS JOIN LATERAL jsonb_to_recordset(report.signals) AS reading (signal text, value float)
    WHERE reading.value IS NOT NULL ORDER BY report.window_to
"""


def served_in(installation: Installation, start: int, end: int) -> dict[str, float]:
    """Return the serving signals of a window [start, end) by their names, without those that are not known."""
    with installation.engine.connect() as connection:
        lists = _lists(connection, end)
    return lists | _realised(installation, start, end)


def serving_readings(installation: Installation) -> list[SignalReading]:
    """Return latency and errors of the servers now, beside their limits.

    These limits send alerts of their own; the readings are no sign of drift.
    """
    now = current_metrics(installation)
    if now is None:
        return []
    settings = installation.settings
    readings = (
        ("serving latency", "milliseconds in which 99 of 100 answers come", now.p99_ms, settings.serving_p99_ms),
        ("serving errors", "answers that are errors", now.error_share, settings.serving_error_share),
    )
    return [
        SignalReading(name, about, float(value), None, limit, None, counted=False)
        for name, about, value, limit in readings
    ]


def past_values(connection: Connection, start: int) -> dict[str, list[float]]:
    """Return the values of signals in earlier windows, the latest last."""
    values: dict[str, list[float]] = {}
    for row in connection.execute(text(_PAST), {"start": start}):
        values.setdefault(row.signal, []).append(row.value)
    return values


def _lists(connection: Connection, end: int) -> dict[str, float]:
    row = connection.execute(text(_SHOWN), {"placement": PLACEMENT, "end": end}).mappings().first()
    if row is None:
        return {}
    summary: Mapping[str, Any] = row["summary"]
    keys_by_signal = {"coverage": "coverage", "concentration": "gini", "overlap": "kept_from_before"}
    values = {name: float(summary[key]) for name, key in keys_by_signal.items() if summary.get(key) is not None}
    scores = [np.array(part["scores"]) for part in (summary, row["first"] or {}) if part.get("scores")]
    if len(scores) == 2:
        spread = float(scores[1][-2] - scores[1][1])
        values["scores"] = float(np.abs(scores[0] - scores[1]).mean()) / max(spread, 1e-9)
    return values


def _realised(installation: Installation, start: int, end: int) -> dict[str, float]:
    """Return recall and hit rate of the lists, each less that of the control list of best sellers."""
    users = realised_accuracy(installation, start, end, PLACEMENT)
    if users is None:
        return {}
    sums = {name: float(pc.sum(users[name]).as_py() or 0) for name in users.column_names[1:]}
    if sums["acted"] < _FEWEST:
        return {}
    return {
        "realised recall": (sums["hits"] - sums["control_hits"]) / sums["targets"],
        "realised hit rate": (sums["hit"] - sums["control_hit"]) / sums["acted"],
    }


def evaluate_window(
    installation: Installation, window: Window, ledger: Sequence[FeedCheck], *, newest: bool
) -> DriftReport | None:
    """Evaluate a window, store and publish its report; return None if another run was faster.

    `ledger` are checks of the feed beyond the window's events.
    """
    situation = _situation(installation, window, ledger, newest=newest)
    with installation.engine.begin() as connection:
        decision = decide(situation, installation.settings.monitor, database_now(connection))
        report = reports.store_report(connection, window.stored, window.number, situation, decision)
    if report is None:
        return None
    emit_report_events(installation, report)
    return publish_report(installation, window, report)


def _situation(
    installation: Installation, window: Window, ledger: Sequence[FeedCheck], *, newest: bool
) -> DriftSituation:
    history, place = window.history, window.place
    users = float(history.sums(place, place)["users"])
    too_few = "" if users >= _MIN_USERS else f"{users:.0f} active users in the window: too few to judge it."
    with installation.engine.connect() as connection:
        before, known = recent_violations(reports_of(connection, window.stored)), retrain_history(connection)
    return DriftSituation(
        judgement=_judged(installation, window, newest=newest),
        feed=[*_feed(history, place), *ledger],
        insufficient_data=too_few,
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
    days = [len(np.unique(history.cut_out(j).at // DAY)) for j in (place, *history.reference(history.cut))]
    return check_feed(history.sums(place, place).values, usual, (days[0], min(days[1:])))


def _labelled(history: History, window: int) -> float:
    """Return the purchases since the cut; clicks in a shop that sells nothing."""
    counts = np.sum([history.sums(j, j)["types"] for j in range(history.cut, window + 1)], axis=0)
    return float(counts[BOUGHT] or counts[CLICKED])
