"""Explains a signal that moved: by bins, by segments of users and by items."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from models.monitoring.drift.signals.event_columns import Floats, Ints
from models.monitoring.drift.signals.signal_table import NAMES, values
from models.monitoring.drift.signals.user_counts import BINS, FEATURES, Edges, Sums, UserCounts, ratio

_LEAST: Final = 30
"""Users that a segment needs to be listed."""
_MOST_ITEMS: Final = 10


class SegmentMoves(TypedDict):
    """The signals of one segment of users."""

    segment: str
    users: int
    moved: dict[str, tuple[float, float]]
    """By signal, the usual value and the value now."""


class Distribution(NamedTuple):
    """Shares of users, or of interactions, in the reference time and now."""

    name: str
    about: str
    bins: list[str]
    then: Floats
    now: Floats


def distributions(drivers: Sequence[str], now: Sums, then_values: Sums, edges: Edges) -> list[Distribution]:
    """Return the distributions behind the drivers of an alarm, each once."""
    names = dict.fromkeys(driver.split(":")[0] for driver in drivers)
    moved_distributions = []
    for name in names:
        if name not in FEATURES and name != "popularity":
            continue
        about = FEATURES.get(name, "interactions by the popularity of items before, the most popular tenth first")
        bins = _bins(edges[name]) if name in FEATURES else [str(tenth + 1) for tenth in range(BINS)]
        # Unknown is the last one, even if bins before it are empty.
        columns = [*range(len(bins) - 1), -1] if name in FEATURES else range(BINS)
        shares = [ratio(sums[name], sums[name].sum())[columns] for sums in (then_values, now)]
        moved_distributions.append(Distribution(name, about, bins, *shares))
    return moved_distributions


def _bins(edges: Sequence[float]) -> list[str]:
    labels = [f"{edge:.3g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(labels)]
    ends = [f"below {labels[0]}", *between, f"from {labels[-1]} on"] if labels else ["all"]
    return [*ends, "unknown"]


def signals_by_segment(
    drivers: Sequence[str], now: UserCounts, before: Sequence[UserCounts], usual: Sums, segment: NDArray[np.str_]
) -> list[SegmentMoves]:
    """Return the drivers of an alarm by segment of users, the largest segment first.

    `segment` [n_users] names the segment of each user of the sample; it is empty for users without one.
    """
    signals = [name for name in drivers if name in NAMES]
    rows: list[SegmentMoves] = []
    for name, count in zip(*np.unique(segment[now.users], return_counts=True), strict=True):
        if count < _LEAST or not signals:
            continue
        then_values, now_values = (_of(parts, segment, name, usual) for parts in (before, [now]))
        moved = {signal: (then_values[signal], now_values[signal]) for signal in signals}
        rows.append(SegmentMoves(segment=str(name) or "without a segment", users=int(count), moved=moved))
    return sorted(rows, key=lambda row: -row["users"])


def _of(parts: Sequence[UserCounts], segment: NDArray[np.str_], name: str, usual: Sums) -> Mapping[str, float]:
    total = np.sum([part.values[segment[part.users] == name].sum(axis=0) for part in parts], axis=0)
    return dict(zip(NAMES, values(Sums(total), usual).tolist(), strict=True))


def items_with_changed_share(now: Ints, then_values: Ints) -> tuple[Ints, Ints, Floats]:
    """Return the items whose share of the interactions rose most and fell most, and the change of each item."""
    shares = [
        np.nan_to_num(ratio(counts.astype(np.float64), np.asarray(counts.sum()))) for counts in (now, then_values)
    ]
    change: Floats = np.subtract(*shares)
    order = np.argsort(-change, kind="stable")
    gained, lost = order[:_MOST_ITEMS], order[::-1][:_MOST_ITEMS]
    return gained[change[gained] > 0], lost[change[lost] < 0], change
