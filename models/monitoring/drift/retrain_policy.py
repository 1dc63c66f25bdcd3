"""Does what was seen call for retraining? Every answer has its reasons, also `no`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from models.monitoring.drift.calibration.joint_threshold import LATEST, NEEDED
from models.monitoring.drift.config import Watch
from models.monitoring.drift.feed_health import FeedCheck
from models.monitoring.drift.window_verdict import Judgement

Kind = Literal["none", "retrain", "blocked"]
Verdict = Literal["steady", "violated", "broken", "thin"]
_LONGEST: Final = 3
"""The cool-down doubles so many times."""


@dataclass(frozen=True)
class Decision:
    """What is to be done, and why."""

    kind: Kind
    reasons: Sequence[str]


@dataclass(frozen=True)
class Retrains:
    """The retraining that there was."""

    open_request: int | None = None
    """One that waits or is at work."""
    finished_at: datetime | None = None
    """When the last one ended, whoever asked for it."""
    lost: int = 0
    """How many challengers in a row did not win."""
    asked_this_week: int = 0
    """By drift."""


@dataclass(frozen=True)
class Situation:
    """Everything that a decision rests on."""

    judgement: Judgement
    feed: Sequence[FeedCheck]
    thin: str
    """Why too little happened in the window to judge it; empty when enough did."""
    earlier: Sequence[bool]
    """Whether each window before it left its band, the latest last; those that led to a request are forgotten."""
    newest: bool
    """Whether no later window is complete."""
    labelled: float
    """Labelled events since the champion has learned."""
    retrains: Retrains


def verdict(now: Situation) -> Verdict:
    """What the window was."""
    if not all(check.passed for check in now.feed):
        return "broken"
    if now.thin:
        return "thin"
    return "violated" if now.judgement.left else "steady"


def decide(now: Situation, watch: Watch, at: datetime) -> Decision:
    """Data quality first; then whether it is more than chance, and then whether it is time."""
    found = verdict(now)
    if found == "broken":
        broken = [f"{check.check}: {check.detail}" for check in now.feed if not check.passed]
        return Decision("blocked", ["The feed is broken; nothing is learned from it.", *broken])
    if found == "thin":
        return Decision("none", [now.thin])
    seen = f"The joint statistic is {now.judgement.joint:.2f}, its limit {now.judgement.limit:.2f}"
    if found == "steady":
        return Decision("none", [f"{seen}: nothing is out of the usual."])
    drove = f"{seen}; it was driven by {', '.join(now.judgement.drivers)}."
    left = [*now.earlier, True][-LATEST:]
    times = f"{sum(left)} of the last {len(left)} windows left their band"
    if sum(left) < NEEDED:
        return Decision("none", [drove, f"{times}: {NEEDED} of {LATEST} are needed."])
    against = _against(now, watch, at)
    return Decision("none" if against else "retrain", [drove, f"{times}, the latest among them.", *against])


def _against(now: Situation, watch: Watch, at: datetime) -> list[str]:
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
    if retrains.asked_this_week >= watch.weekly_budget:
        reasons.append(f"Drift has asked {retrains.asked_this_week} times in seven days, which is its budget.")
    return reasons


def _cool_down(retrains: Retrains, watch: Watch) -> datetime | None:
    if retrains.finished_at is None:
        return None
    return retrains.finished_at + timedelta(days=watch.cool_down_days * 2 ** min(retrains.lost, _LONGEST))
