"""Prints a scorecard of drift detection: false alarms over stationary windows, and the delay of graded shifts.

Streams are days of a simulated shop with resampled users. Each has a champion, and bands from its own 112 known days.
Evidently with its defaults examines the first streams. Run as `python -m benchmarks.drift`; `--ours` leaves it out.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.drift import scorecard
from benchmarks.drift.detection_metrics import WINDOWS
from benchmarks.drift.evidently_runner import installed
from benchmarks.drift.runs import SEED, StreamResult, seen
from benchmarks.drift.shifts import SHIFTS
from benchmarks.results import publish

STREAMS: Final = 40
PEER_STREAMS: Final = 12
"""Streams that Evidently examines too, which takes far longer."""


def main() -> None:
    """Measure, print and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--ours", action="store_true", help="Only ours.")
    options = parser.parse_args()
    started = time.perf_counter()
    if not options.ours:
        installed()
    streams = list(seen(options.streams, 0 if options.ours else PEER_STREAMS))
    show(streams)
    whole = options.streams == STREAMS and not options.ours
    name = "drift" if whole else f"drift-{options.streams}"
    publish(name, {**figures(streams), "seconds": time.perf_counter() - started}, SEED)


def figures(streams: Sequence[StreamResult]) -> dict[str, float]:
    """Return all figures by name."""
    both = [one for one in streams if one.theirs]
    return scorecard.ours(streams) | (scorecard.theirs(both) if both else {})


def show(streams: Sequence[StreamResult]) -> None:
    """Print the table of shifts, and below it the results without a shift."""
    scores, both = figures(streams), [one for one in streams if one.theirs]
    table = Table(title=f"Shifts in {len(streams)} streams, {WINDOWS} days to find them", title_justify="left")
    for name in ("shift", "power", "delay", "found by"):
        table.add_column(name, justify="left" if name in ("shift", "found by") else "right")
    if both:
        for name in ("at their rate", "Evidently: power", "delay", "found by", "at a table's rate", "a whole table"):
            table.add_column(name, justify="left" if name == "found by" else "right")
    for shift in SHIFTS:
        cells = [f"{scores[f'power_{shift}']:.0%}", _windows(scores[f"delay_{shift}"]), scorecard.way(streams, shift)]
        table.add_row(shift.replace("_", " "), *cells, *(_theirs(scores, shift, both) if both else []))
    Console().print(table)
    _calm(scores)


def _theirs(scores: Mapping[str, float], shift: str, both: Sequence[StreamResult]) -> list[str]:
    ours, theirs, seldom, whole = (
        _windows(scores[f"{name}_delay_{shift}"])
        for name in ("equal_rate", "evidently", "dataset_rate", "evidently_dataset")
    )
    power = f"{scores[f'evidently_power_{shift}']:.0%}"
    return [ours, power, theirs, scorecard.their_way(both, shift), seldom, whole]


def _windows(delay: float) -> str:
    return f"{delay:g}" if delay <= WINDOWS else "not found"


def _calm(scores: Mapping[str, float]) -> None:
    print(
        f"{scores['stationary_windows']:,.0f} stationary windows: {scores['false_retrains']:.0f} requests, "
        f"joint statistic beyond its limit in {scores['false_alarm_rate']:.2%}, "
        f"feed judged broken in {scores['false_blocks']:.2%}."
    )
    if "evidently_false_alarm_rate" not in scores:
        return
    print(
        f"Evidently, in {scores['evidently_stationary_windows']:,.0f} of them: any column in "
        f"{scores['evidently_false_alarm_rate']:.2%}, a whole table in {scores['evidently_dataset_alarm_rate']:.2%}."
    )
    print(
        f"Ours at their rate: single windows above {scores['equal_rate_limit']:.2f}; at that of a whole table, "
        f"{scores['dataset_rate_limit']:.2f}. Delays beside each other are at equal rates."
    )
    if not scores["evidently_false_alarm_rate"]:
        print("Evidently had no false alarm: ours may not have one either, its limit is its largest stationary value.")


if __name__ == "__main__":
    main()
