"""Prints a scorecard of drift detection: false alarms over stationary windows, and the delay of graded shifts.

Streams are days of a simulated shop with resampled users. Each has a champion, and bands from its own 112 known days.
Run as `python -m benchmarks.drift`.
"""

import argparse
import time
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.drift import scorecard
from benchmarks.drift.runs import SEED, seen
from benchmarks.drift.shifts import SHIFTS, WINDOWS
from benchmarks.results import publish

STREAMS: Final = 40


def main() -> None:
    """Measure, print and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=STREAMS)
    number = parser.parse_args().streams
    started = time.perf_counter()
    streams = list(seen(number))
    scores = scorecard.figures(streams)
    table = Table(title=f"Shifts in {number} streams, {WINDOWS} days to find them", title_justify="left")
    for name in ("shift", "power", "delay", "found by"):
        table.add_column(name, justify="left" if name in ("shift", "found by") else "right")
    for shift in SHIFTS:
        delay = scores[f"delay_{shift}"]
        shown = f"{delay:g}" if delay <= WINDOWS else "not found"
        cells = (f"{scores[f'power_{shift}']:.0%}", shown, scorecard.first_driver(streams, shift))
        table.add_row(shift.replace("_", " "), *cells)
    Console().print(table)
    print(
        f"{scores['stationary_windows']:,.0f} stationary windows: {scores['false_retrains']:.0f} requests, "
        f"joint statistic beyond its limit in {scores['false_alarm_rate']:.2%}, "
        f"feed judged broken in {scores['false_blocks']:.2%}."
    )
    name = "drift" if number == STREAMS else f"drift-{number}"
    publish(name, {**scores, "seconds": time.perf_counter() - started}, SEED)


if __name__ == "__main__":
    main()
