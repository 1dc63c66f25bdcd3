"""Computes the scorecard of drift from the results of streams: false alarms, and the delay and power of detection."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.drift.runs import STATIONARY, Alarms, Course
from benchmarks.drift.shifts import LARGER, SHIFTS, WINDOWS

MISSED = WINDOWS + 1


@dataclass(frozen=True)
class Detection:
    """The detection of one shift in many streams."""

    power: float
    """Share of streams in which the shift was found in time."""
    delay: float
    """Windows until detection in the median stream; `MISSED` if that stream never found it."""


def figures(streams: Sequence[dict[str, Course]]) -> dict[str, float]:
    """Score the monitor with its defaults: two of the latest windows make a request, a broken feed blocks."""
    calm = [courses[STATIONARY] for courses in streams]
    windows = sum(len(course.joint) for course in calm)
    requests = int(sum(course.requests.sum() for course in calm))
    results = {shift: detection([courses[shift].noticed for courses in streams]) for shift in SHIFTS}
    return {
        "stationary_windows": float(windows),
        "false_retrains": float(requests),
        "windows_between_false_retrains": windows / max(1, requests),
        "false_alarm_rate": float(sum(course.exceeds.sum() for course in calm)) / windows,
        "false_blocks": float(sum(course.blocked.sum() for course in calm)) / windows,
        **{f"power_{shift}": result.power for shift, result in results.items()},
        **{f"delay_{shift}": result.delay for shift, result in results.items()},
        "worst_median_delay": max(results[shift].delay for shift in LARGER),
    }


def detection(alarms: Sequence[Alarms]) -> Detection:
    """Return the detection over streams."""
    delays = [delay(one) for one in alarms]
    return Detection(float(np.mean([d <= WINDOWS for d in delays])), float(np.median(delays)))


def delay(alarms: Alarms) -> int:
    """Return the number of windows until the first alarm; 1 for the first window of a shift."""
    positions = np.flatnonzero(alarms[:WINDOWS])
    return int(positions[0]) + 1 if len(positions) else MISSED


def first_driver(streams: Sequence[dict[str, Course]], shift: str) -> str:
    """Return the most frequent first driver of a shift: a feed check, or the signal with the largest deviation."""
    firsts = [(delay(courses[shift].noticed), courses[shift].reasons) for courses in streams]
    names = [reasons[first - 1][0] for first, reasons in firsts if first <= WINDOWS]
    return Counter(names).most_common(1)[0][0] if names else ""
