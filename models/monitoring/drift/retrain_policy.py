"""Decides whether a window calls for retraining, and states the reasons for each decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from models.monitoring.drift.calibration.bands import LATEST_WINDOWS, WINDOWS_NEEDED
from models.monitoring.drift.feed_health import FeedCheck
from models.monitoring.drift.monitor_settings import DriftMonitorConfig
from models.monitoring.drift.window_verdict import WindowJudgement

Kind = Literal["none", "retrain", "blocked"]
Verdict = Literal["stable", "drifted", "invalid_feed", "insufficient_data"]
STABLE: Final = "stable"
DRIFTED: Final = "drifted"
INVALID_FEED: Final = "invalid_feed"
INSUFFICIENT_DATA: Final = "insufficient_data"
_MAX_DOUBLINGS: Final = 3
"""The cool-down doubles at most this often."""


@dataclass(frozen=True)
class Decision:
    """The action after a window, and its reasons."""

    kind: Kind
    reasons: Sequence[str]


@dataclass(frozen=True)
class RetrainHistory:
    """Earlier and open retrainings."""

    open_request: int | None = None
    """The request that waits or is being worked on."""
    finished_at: datetime | None = None
    """When the last retraining ended, whatever requested it."""
    lost: int = 0
    """How many challengers in a row did not win."""
    requests_this_week: int = 0
    """Requests by drift in the last seven days."""


@dataclass(frozen=True)
class DriftSituation:
    """Everything that a decision depends on."""

    judgement: WindowJudgement
    feed: Sequence[FeedCheck]
    insufficient_data: str
    """Why the window has too little data to judge it; empty if it has enough."""
    earlier: Sequence[bool]
    """Whether each earlier window exceeded the threshold, the latest last. Windows before a request do not count."""
    newest: bool
    """Whether no later window is complete."""
    labelled: float
    """Labelled events since the champion's cut."""
    retrains: RetrainHistory


def verdict(now: DriftSituation) -> Verdict:
    """Return the verdict on the window; an invalid feed comes before all else."""
    if not all(check.passed for check in now.feed):
        return INVALID_FEED
    if now.insufficient_data:
        return INSUFFICIENT_DATA
    return DRIFTED if now.judgement.exceeds else STABLE


def decide(now: DriftSituation, config: DriftMonitorConfig, at: datetime) -> Decision:
    """Check data quality first, then whether the drift exceeds chance, then whether a retraining is allowed now."""
    outcome = verdict(now)
    if outcome == INVALID_FEED:
        failed = [f"{check.check}: {check.detail}" for check in now.feed if not check.passed]
        return Decision("blocked", ["The feed is broken; no model is trained on it.", *failed])
    if outcome == INSUFFICIENT_DATA:
        return Decision("none", [now.insufficient_data])
    statistic = f"The joint statistic is {now.judgement.joint:.2f}, its limit {now.judgement.threshold:.2f}"
    if outcome == STABLE:
        return Decision("none", [f"{statistic}: all signals are in their usual range."])
    cause = f"{statistic}; it was driven by {', '.join(now.judgement.drivers)}."
    violations = [*now.earlier, True][-LATEST_WINDOWS:]
    times = f"{sum(violations)} of the last {len(violations)} windows left their band"
    if sum(violations) < WINDOWS_NEEDED:
        return Decision("none", [cause, f"{times}: {WINDOWS_NEEDED} of {LATEST_WINDOWS} are needed."])
    objections = _objections(now, config, at)
    return Decision("none" if objections else "retrain", [cause, f"{times}, the latest among them.", *objections])


def _objections(now: DriftSituation, config: DriftMonitorConfig, at: datetime) -> list[str]:
    """Return the reasons against a retraining now."""
    reasons, retrains = [], now.retrains
    if not now.newest:
        reasons.append("A later window is complete already; its report decides.")
    if retrains.open_request is not None:
        reasons.append(f"Request {retrains.open_request} is open: one retraining at a time.")
    if now.labelled < config.labelled_events:
        reasons.append(
            f"There are {now.labelled:,.0f} labelled events since the champion's training data, and "
            f"{config.labelled_events:,} are needed for a retraining."
        )
    over = _cool_down(retrains, config)
    if over is not None and at < over:
        lost = f"; {retrains.lost} challengers in a row did not win" if retrains.lost else ""
        reasons.append(
            f"The last retraining has just ended{lost}: drift can request the next one from {over:%Y-%m-%d %H:%M} UTC."
        )
    if retrains.requests_this_week >= config.weekly_budget:
        reasons.append(f"Drift has made {retrains.requests_this_week} requests in seven days, its whole budget.")
    return reasons


def _cool_down(retrains: RetrainHistory, config: DriftMonitorConfig) -> datetime | None:
    if retrains.finished_at is None:
        return None
    return retrains.finished_at + timedelta(days=config.cool_down_days * 2 ** min(retrains.lost, _MAX_DOUBLINGS))
