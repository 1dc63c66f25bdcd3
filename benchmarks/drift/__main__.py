"""Prints a scorecard of drift detection: false alarms over stationary windows, and the delay of graded shifts.

Streams are days of a simulated shop with resampled users. Each has a champion, and bands from its own 112 known days.
Run as `python -m benchmarks.drift`.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from benchmarks.drift.runs import SEED, STATIONARY, Alarms, Course, seen
from benchmarks.drift.shifts import SHIFTS, WINDOWS
from benchmarks.results import publish, show

STREAMS: Final = 40
MISSED: Final = WINDOWS + 1
"""The delay of a shift that was not found."""


def figures(streams: Sequence[dict[str, Course]]) -> dict[str, float]:
    """Score the monitor with its defaults: two of the latest windows make a request, a broken feed blocks."""
    calm = [courses[STATIONARY] for courses in streams]
    windows = sum(len(course.joint) for course in calm)
    requests = int(sum(course.requests.sum() for course in calm))
    delays = {shift: [delay(courses[shift].noticed) for courses in streams] for shift in SHIFTS}
    return {
        "stationary_windows": float(windows),
        "false_retrains": float(requests),
        "windows_between_false_retrains": windows / max(1, requests),
        "false_alarm_rate": float(sum(course.exceeds.sum() for course in calm)) / windows,
        "false_blocks": float(sum(course.blocked.sum() for course in calm)) / windows,
        **{f"power_{shift}": float(np.mean(np.array(taken) <= WINDOWS)) for shift, taken in delays.items()},
        **{f"delay_{shift}": float(np.median(taken)) for shift, taken in delays.items()},
    }


def delay(alarms: Alarms) -> int:
    """Return the number of windows until the first alarm; 1 for the first window of a shift."""
    positions = np.flatnonzero(alarms[:WINDOWS])
    return int(positions[0]) + 1 if len(positions) else MISSED


def first_driver(streams: Sequence[dict[str, Course]], shift: str) -> str:
    """Return the most frequent first driver of a shift: a feed check, or the signal with the largest deviation."""
    firsts = [(delay(courses[shift].noticed), courses[shift].reasons) for courses in streams]
    names = [reasons[first - 1][0] for first, reasons in firsts if first <= WINDOWS]
    return Counter(names).most_common(1)[0][0] if names else ""


def main() -> None:
    """Measure, print and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=STREAMS)
    number = parser.parse_args().streams
    started = time.perf_counter()
    streams = list(seen(number))
    scores = figures(streams)
    rows = [
        [
            shift.replace("_", " "),
            f"{scores[f'power_{shift}']:.0%}",
            f"{scores[f'delay_{shift}']:g}" if scores[f"delay_{shift}"] <= WINDOWS else "not found",
            first_driver(streams, shift),
        ]
        for shift in SHIFTS
    ]
    show(f"Shifts in {number} streams, {WINDOWS} days to find them", ("shift", "power", "delay", "found by"), rows)
    print(
        f"{scores['stationary_windows']:,.0f} stationary windows: {scores['false_retrains']:.0f} requests, "
        f"joint statistic beyond its limit in {scores['false_alarm_rate']:.2%}, "
        f"feed judged broken in {scores['false_blocks']:.2%}."
    )
    name = "drift" if number == STREAMS else f"drift-{number}"
    publish(name, {**scores, "seconds": time.perf_counter() - started}, SEED)


if __name__ == "__main__":
    main()
