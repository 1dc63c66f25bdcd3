"""Runs the drift monitor on streams: calibration on the known days, then stationary windows, and each shift."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.drift.shifts import SHIFTS, WINDOWS
from benchmarks.drift.streams import USERS_OF_STREAMS, Shop, Stream, goods, joined
from models.monitoring.drift.calibration.bands import Calibration, calibrate, request_windows
from models.monitoring.drift.calibration.windows import History, windows_before
from models.monitoring.drift.feed_health import check_feed
from models.monitoring.drift.signals.event_columns import DAY, Events, Floats
from models.monitoring.drift.window_verdict import judge

SEED: Final = 7
_FIRST: Final = 100
"""Streams before this number were used while the monitor was developed."""
KNOWN: Final = 112
"""Days of the champion's training data, and of the calibration."""
BETWEEN: Final = 91.0
"""Configured windows between two false requests."""
STATIONARY: Final = "stationary"
DAYS: Final = 60
"""Stationary windows of a stream."""
AGE: Final = 14
"""Days since the champion's cut when a shift begins."""
_PROCESSES: Final = 2

Alarms = NDArray[np.bool_]
"""[windows] whether the monitor raised an alarm; a shift begins with the first window."""


@dataclass(frozen=True)
class Course:
    """Consecutive windows as the monitor saw them."""

    joint: Floats
    """[windows] the joint deviation."""
    threshold: float
    blocked: Alarms
    """[windows] whether the feed was judged broken."""
    reasons: Sequence[Sequence[str]]
    """By window, the drivers, the largest deviation first; or else the failed feed checks."""

    @property
    def exceeds(self) -> Alarms:
        """[windows] whether the joint deviation exceeds its threshold; never with a broken feed."""
        alarms: Alarms = (self.joint > self.threshold) & ~self.blocked
        return alarms

    @property
    def requests(self) -> Alarms:
        """[windows] whether a retraining was requested."""
        return request_windows(self.exceeds)

    @property
    def noticed(self) -> Alarms:
        """[windows] whether a retraining was requested, or a broken feed blocked it."""
        return self.requests | self.blocked


@dataclass(frozen=True)
class Monitor:
    """The calibration on the known days of a stream."""

    history: History
    calibration: Calibration

    @classmethod
    def learnt(cls, shop: Shop, stream: Stream) -> "Monitor":
        """Calibrate on its own days only."""
        events = stream.whole(KNOWN)
        history = History(events, goods(shop), shop.first_day * DAY, 1, KNOWN, USERS_OF_STREAMS)
        return cls(history, calibrate(history, BETWEEN, stream.seed))

    @property
    def before(self) -> range:
        """The reference windows."""
        return range(KNOWN - windows_before(1), KNOWN)

    def course(self, days: Events, windows: Sequence[int]) -> Course:
        """Judge some windows after the cut, by their events."""
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


def seen(streams: int) -> Iterator[dict[str, Course]]:
    """Yield the windows of so many streams, by the name of the shift."""
    _shop()  # processes share it
    with ProcessPoolExecutor(_PROCESSES, mp_context=get_context("fork")) as pool:
        for number, courses in enumerate(pool.map(_seen, range(_FIRST, _FIRST + streams))):
            print(f"stream {number + 1} of {streams}", file=sys.stderr)
            yield courses


@cache
def _shop() -> Shop:
    return Shop.made(SEED)


def _seen(seed: int) -> dict[str, Course]:
    stream = Stream(_shop(), seed, KNOWN)
    monitor = Monitor.learnt(_shop(), stream)
    calm = [stream.day(KNOWN + day) for day in range(DAYS)]
    courses = {STATIONARY: monitor.course(joined(calm), range(KNOWN, KNOWN + DAYS))}
    began = KNOWN + AGE
    for name, shift in SHIFTS.items():
        days = [stream.day(began + day, shift, began) for day in range(WINDOWS)]
        courses[name] = monitor.course(joined(days), range(began, began + WINDOWS))
    return courses
