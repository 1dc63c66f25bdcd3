"""Runs the monitors on streams: stationary windows, and the same shop after each shift."""

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import Final

from benchmarks.drift.base_shop import Shop
from benchmarks.drift.detection_metrics import WINDOWS
from benchmarks.drift.evidently_runner import Verdicts, verdicts
from benchmarks.drift.shifts import SHIFTS
from benchmarks.drift.streams import Stream, joined
from benchmarks.drift.tailorbird_monitor import KNOWN, Course, Monitor
from models.monitoring.drift.signals.event_columns import Events

SEED: Final = 7
_FIRST: Final = 100
"""Streams before this number were used while the monitor was developed."""
STATIONARY: Final = "stationary"
DAYS: Final = 60
"""Stationary windows of a stream."""
AGE: Final = 14
"""Days since the champion's cut when a shift begins."""
_PROCESSES: Final = 2


@dataclass(frozen=True)
class StreamResult:
    """Results of one stream: its stationary windows, and the windows after each shift by name."""

    ours: Mapping[str, Course]
    theirs: Mapping[str, Verdicts]
    """Empty if Evidently did not run."""


def seen(streams: int, peers: int) -> Iterator[StreamResult]:
    """Return the results of so many streams; Evidently examines only the first ones."""
    _shop()  # processes share it
    with ProcessPoolExecutor(_PROCESSES, mp_context=get_context("fork")) as pool:
        numbers = range(streams)
        results = pool.map(_seen, [_FIRST + number for number in numbers], [number < peers for number in numbers])
        for number, one in enumerate(results):
            print(f"stream {number + 1} of {streams}", file=sys.stderr)
            yield one


@cache
def _shop() -> Shop:
    return Shop.made(SEED)


def _seen(seed: int, peer: bool) -> StreamResult:
    stream = Stream(_shop(), seed, KNOWN)
    monitor = Monitor.learnt(_shop(), stream)
    courses = _courses(stream)
    ours = {
        name: monitor.course(joined(days), range(start, start + len(days))) for name, (start, days) in courses.items()
    }
    days = {name: days for name, (_, days) in courses.items()}
    return StreamResult(ours, verdicts(_shop(), stream, monitor.before, days) if peer else {})


def _courses(stream: Stream) -> dict[str, tuple[int, list[Events]]]:
    """Return the first window and the days of each course."""
    began = KNOWN + AGE
    results = {STATIONARY: (KNOWN, [stream.day(KNOWN + day) for day in range(DAYS)])}
    for name, shift in SHIFTS.items():
        results[name] = (began, [stream.day(began + day, shift, began) for day in range(WINDOWS)])
    return results
