"""What Tailorbird's drift monitor sees of a stream: what it learns from its known days, then window after window."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.drift.base_shop import Shop, goods
from benchmarks.drift.detection_metrics import Alarms
from benchmarks.drift.streams import USERS_OF_STREAMS, Stream
from models.monitoring.drift.calibration.calibrate import Calibration, calibrate
from models.monitoring.drift.calibration.joint_threshold import request_windows
from models.monitoring.drift.calibration.windows import History, windows_before
from models.monitoring.drift.feed_health import check_feed
from models.monitoring.drift.signals.event_columns import DAY, Events, Floats
from models.monitoring.drift.window_verdict import judge

KNOWN: Final = 112
"""Days that the champion has learned from, and the monitor what is usual."""
BETWEEN: Final = 91.0
"""Windows between two false requests that the monitor is asked for."""


@dataclass(frozen=True)
class Course:
    """Windows one after the other, as the monitor saw them."""

    joint: Floats
    """[windows]"""
    threshold: float
    blocked: Alarms
    """[windows] whether the feed was taken for broken."""
    reasons: Sequence[Sequence[str]]
    """By window, the signals that left their bands, the furthest first; or else the checks of the feed that failed."""

    @property
    def exceeds(self) -> Alarms:
        """[windows] whether the joint statistic left its band; nothing is judged of a broken feed."""
        alarms: Alarms = (self.joint > self.threshold) & ~self.blocked
        return alarms

    @property
    def requests(self) -> Alarms:
        """[windows] at which retraining was asked for."""
        return request_windows(self.exceeds)


@dataclass(frozen=True)
class Monitor:
    """What was learned from the known days of a stream."""

    history: History
    calibration: Calibration

    @classmethod
    def learnt(cls, shop: Shop, stream: Stream) -> "Monitor":
        """From its own days only."""
        events = stream.whole(KNOWN)
        history = History(events, goods(shop), shop.first_day * DAY, 1, KNOWN, USERS_OF_STREAMS)
        return cls(history, calibrate(history, BETWEEN, stream.seed))

    @property
    def before(self) -> range:
        """The windows that others are held against."""
        return range(KNOWN - windows_before(1), KNOWN)

    def course(self, days: Events, windows: Sequence[int]) -> Course:
        """What it says of some windows after the cut, by the events of them."""
        history = self.history.followed_by(days)
        usual = np.stack([history.sums(window, window).values for window in self.before])
        judged = [judge(self.calibration, history, window) for window in windows]
        failed = [_failed(history, window, usual) for window in windows]
        return Course(
            np.array([one.joint for one in judged]),
            self.calibration.threshold,
            np.array([bool(checks) for checks in failed]),
            [checks or one.drivers for checks, one in zip(failed, judged, strict=True)],
        )


def _failed(history: History, window: int, usual: Any) -> list[str]:
    checks = check_feed(history.sums(window, window).values, usual, (1, 1))
    return [f"feed, {one.check}" for one in checks if not one.passed]
