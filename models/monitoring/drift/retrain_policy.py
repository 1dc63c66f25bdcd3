"""Does what was seen call for retraining? Every answer has its reasons, also `no`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from models.monitoring.drift.calibration.joint_threshold import LATEST_WINDOWS, WINDOWS_NEEDED
from models.monitoring.drift.config import DriftMonitorConfig
from models.monitoring.drift.feed_health import FeedCheck
from models.monitoring.drift.window_verdict import WindowJudgement

Kind = Literal["none", "retrain", "blocked"]
Verdict = Literal["stable", "drifted", "invalid_feed", "insufficient_data"]
_LONGEST: Final = 3
"""The cool-down doubles so many times."""


@dataclass(frozen=True)
class Decision:
    """What is to be done, and why."""

    kind: Kind
    reasons: Sequence[str]


@dataclass(frozen=True)
class RetrainHistory:
    """The retraining that there was."""

    open_request: int | None = None
    """One that waits or is at work."""
    finished_at: datetime | None = None
    """When the last one ended, whoever asked for it."""
    lost: int = 0
    """How many challengers in a row did not win."""
    requests_this_week: int = 0
    """By drift."""


@dataclass(frozen=True)
class DriftSituation:
    """Everything that a decision rests on."""

    judgement: WindowJudgement
    feed: Sequence[FeedCheck]
    insufficient_data: str
    """Why too little happened in the window to judge it; empty when enough did."""
    earlier: Sequence[bool]
    """Whether each window before it left its band, the latest last; those that led to a request are forgotten."""
    newest: bool
    """Whether no later window is complete."""
    labelled: float
    """Labelled events since the champion has learned."""
    retrains: RetrainHistory


def verdict(now: DriftSituation) -> Verdict:
    """What the window was."""
    if not all(check.passed for check in now.feed):
        return "invalid_feed"
    if now.insufficient_data:
        return "insufficient_data"
    return "drifted" if now.judgement.exceeds else "stable"


def decide(now: DriftSituation, watch: DriftMonitorConfig, at: datetime) -> Decision:
    """Data quality first; then whether it is more than chance, and then whether it is time."""
    outcome = verdict(now)
    if outcome == "invalid_feed":
        failed = [f"{check.check}: {check.detail}" for check in now.feed if not check.passed]
        return Decision("blocked", ["The feed is broken; nothing is learned from it.", *failed])
    if outcome == "insufficient_data":
        return Decision("none", [now.insufficient_data])
    statistic = f"The joint statistic is {now.judgement.joint:.2f}, its limit {now.judgement.threshold:.2f}"
    if outcome == "stable":
        return Decision("none", [f"{statistic}: nothing is out of the usual."])
    cause = f"{statistic}; it was driven by {', '.join(now.judgement.drivers)}."
    violations = [*now.earlier, True][-LATEST_WINDOWS:]
    times = f"{sum(violations)} of the last {len(violations)} windows left their band"
    if sum(violations) < WINDOWS_NEEDED:
        return Decision("none", [cause, f"{times}: {WINDOWS_NEEDED} of {LATEST_WINDOWS} are needed."])
    objections = _against(now, watch, at)
    return Decision("none" if objections else "retrain", [cause, f"{times}, the latest among them.", *objections])


def _against(now: DriftSituation, watch: DriftMonitorConfig, at: datetime) -> list[str]:
    """Why there is no retraining all the same."""
    reasons, retrains = [], now.retrains
    if not now.newest:
        reasons.append("A later window is complete already, and decides.")
    if retrains.open_request is not None:
        reasons.append(f"Request {retrains.open_request} is open: one retraining at a time.")
    if now.labelled < watch.labelled_events:
        reasons.append(
            f"There are {now.labelled:,.0f} labelled events since the champion has learned, and "
            f"{watch.labelled_events:,} are needed to learn anything new."
        )
    over = _cool_down(retrains, watch)
    if over is not None and at < over:
        lost = f"; {retrains.lost} challengers in a row did not win" if retrains.lost else ""
        reasons.append(f"The last retraining has just ended{lost}: drift asks again from {over:%Y-%m-%d %H:%M} UTC on.")
    if retrains.requests_this_week >= watch.weekly_budget:
        reasons.append(f"Drift has asked {retrains.requests_this_week} times in seven days, which is its budget.")
    return reasons


def _cool_down(retrains: RetrainHistory, watch: DriftMonitorConfig) -> datetime | None:
    if retrains.finished_at is None:
        return None
    return retrains.finished_at + timedelta(days=watch.cool_down_days * 2 ** min(retrains.lost, _LONGEST))
