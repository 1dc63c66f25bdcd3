"""Computes the scorecard of drift from the results of streams."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.drift.detection_metrics import WINDOWS, Alarms, Detection, delay, detection, limit_at_rate
from benchmarks.drift.runs import STATIONARY, StreamResult
from benchmarks.drift.shifts import LARGER, SHIFTS
from benchmarks.drift.tailorbird_monitor import Course

AlarmsOf = Callable[[str], list[Alarms]]
"""Returns the alarms of a monitor after a shift, by stream."""


def ours(streams: Sequence[StreamResult]) -> dict[str, float]:
    """Score Tailorbird with its defaults: two of the latest windows make a request, a broken feed blocks."""
    calm = [one.ours[STATIONARY] for one in streams]
    windows = sum(len(one.joint) for one in calm)
    requests = int(sum(one.requests.sum() for one in calm))
    figures = {
        "stationary_windows": float(windows),
        "false_retrains": float(requests),
        "windows_between_false_retrains": windows / max(1, requests),
        "false_alarm_rate": float(sum(one.exceeds.sum() for one in calm)) / windows,
        "false_blocks": float(sum(one.blocked.sum() for one in calm)) / windows,
    }
    results = detections(lambda shift: [noticed(one.ours[shift]) for one in streams])
    return figures | _listed("", results) | {"worst_median_delay": worst(results)}


def theirs(streams: Sequence[StreamResult]) -> dict[str, float]:
    """Score Evidently with its defaults, and Tailorbird at the same rate of false alarms in the same windows.

    There are two rates: alarms of any column, and the far fewer alarms of a whole table.
    """
    calm = [one.theirs[STATIONARY] for one in streams]
    rate, rare = (float(np.mean([getattr(one, name) for one in calm])) for name in ("alarms", "dataset"))
    limit, high = (_equal_limit(streams, often) for often in (rate, rare))
    results = detections(lambda shift: [one.theirs[shift].alarms for one in streams])
    whole = detections(lambda shift: [one.theirs[shift].dataset for one in streams])
    equal, seldom = (_at(streams, above) for above in (limit, high))
    figures = {
        "evidently_stationary_windows": float(sum(len(one.alarms) for one in calm)),
        "evidently_false_alarm_rate": rate,
        "evidently_dataset_alarm_rate": rare,
        "equal_rate_limit": limit,
        "dataset_rate_limit": high,
        "equal_rate_false_alarm_rate": float(np.mean([_above(one.ours[STATIONARY], limit) for one in streams])),
        "worst_delay_at_equal_rate": worst(equal),
        "worst_delay_at_dataset_rate": worst(seldom),
        "evidently_worst_delay": worst(results),
        "evidently_dataset_worst_delay": worst(whole),
    }
    figures |= _listed("evidently_", results)
    figures |= _listed("evidently_dataset_", whole) | _listed("dataset_rate_", seldom)
    return figures | {f"equal_rate_delay_{shift}": one.delay for shift, one in equal.items()}


def noticed(course: Course) -> Alarms:
    """Return [windows] whether a retraining was requested, or a broken feed blocked it."""
    return course.requests | course.blocked


def detections(alarms_of: AlarmsOf) -> dict[str, Detection]:
    """Return the detection of each shift."""
    return {shift: detection(alarms_of(shift)) for shift in SHIFTS}


def worst(results: dict[str, Detection]) -> float:
    """Return the longest median delay of the shifts at their larger grades."""
    return max(results[shift].delay for shift in LARGER)


def way(streams: Sequence[StreamResult], shift: str) -> str:
    """Return the most frequent first driver of a shift: a feed check, or the signal with the largest deviation."""
    firsts = [(delay(noticed(one.ours[shift])), one.ours[shift].reasons) for one in streams]
    return _most([reasons[first - 1][0] for first, reasons in firsts if first <= WINDOWS])


def their_way(streams: Sequence[StreamResult], shift: str) -> str:
    """Return the column that most often was Evidently's first sign of a shift."""
    firsts = [(delay(one.theirs[shift].alarms), one.theirs[shift].columns) for one in streams]
    return _most([name for first, columns in firsts if first <= WINDOWS for name in columns[first - 1]])


def _most(names: list[str]) -> str:
    return Counter(names).most_common(1)[0][0] if names else ""


def _equal_limit(streams: Sequence[StreamResult], rate: float) -> float:
    calm = [one.ours[STATIONARY] for one in streams]
    joint, blocked = (np.concatenate([getattr(one, name) for one in calm]) for name in ("joint", "blocked"))
    return limit_at_rate(joint, blocked, rate)


def _at(streams: Sequence[StreamResult], limit: float) -> dict[str, Detection]:
    return detections(lambda shift: [_above(one.ours[shift], limit) for one in streams])


def _above(course: Course, limit: float) -> Alarms:
    """Return single windows above a limit, or with a broken feed."""
    return (course.joint > limit) | course.blocked


def _listed(monitor: str, results: dict[str, Detection]) -> dict[str, float]:
    powers = {f"{monitor}power_{shift}": one.power for shift, one in results.items()}
    return powers | {f"{monitor}delay_{shift}": one.delay for shift, one in results.items()}
