"""Cuts events into windows of equal length, and counts each window relative to its reference time."""

from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.monitoring.drift.signals import user_counts
from models.monitoring.drift.signals.event_columns import (
    DAY,
    INTERACTIONS,
    MISSING_CODE,
    Events,
    Floats,
    Ints,
    ItemTable,
)
from models.monitoring.drift.signals.user_counts import BINS, PLACE, Edges, Reference, Sums, UserCounts

_BEFORE_DAYS: Final = 28
_ANCHORS: Final = 2_000
_EDGE_WINDOWS: Final = 8
"""Windows whose users define the bins of features."""


def windows_before(window_days: int) -> int:
    """Return the windows of the reference time: four weeks, and at least four windows."""
    return max(4, round(_BEFORE_DAYS / window_days))


def ages(window_days: int) -> list[int]:
    """Return the ages of the champion, in windows, that are calibrated; other ages are interpolated.

    New items and users appear all the time. Those of more than four weeks ago count as known, or they would stay new
    for ever.
    """
    return [age for age in (0, 1, 2, 4, 7, 10, 14, 21, 28) if age <= windows_before(window_days)]


@dataclass
class History:
    """Consecutive windows 0 … n - 1 of whole days; the champion was trained before window `cut`."""

    events: Events
    item_table: ItemTable
    start: int
    """Begin of window 0 in epoch seconds."""
    window_days: int
    cut: int
    """The first window after the champion's training data."""
    n_users: int
    edges: Edges = field(default_factory=dict)
    """Bin edges of a calibration; by default computed here."""
    skipped_days: int = 0
    """Days between the windows before the cut and those after it: the day in which the training data end, or none."""
    _base: dict[int, Floats] = field(default_factory=dict)
    _counts: dict[int, Ints] = field(default_factory=dict)
    _tastes: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    _usual: dict[int, Floats] = field(default_factory=dict)
    _held: dict[int, tuple[Ints, NDArray[np.float32]]] = field(default_factory=dict)
    """By the end of a reference time: popularity tenths of items, and tastes of anchors."""

    def __post_init__(self) -> None:
        self.edges = self.edges or self._edges()

    def span(self, window: int) -> tuple[int, int]:
        """Return the begin and the end of a window."""
        skipped = self.skipped_days if window >= self.cut else 0
        begin = self.start + (window * self.window_days + skipped) * DAY
        return begin, begin + self.window_days * DAY

    def age(self, window: int) -> float:
        """Return the age of the champion in windows, at the begin of a window after the cut."""
        return window - self.cut + self.skipped_days / self.window_days

    def weekday(self, window: int) -> int:
        """Return the weekday of a window; 0 for windows of whole weeks."""
        return 0 if self.window_days % 7 == 0 else (self.span(window)[0] // DAY) % 7

    def cut_out(self, window: int) -> Events:
        """Return the events of a window."""
        return self.events.between(*self.span(window))

    def counted(self, window: int, end: int | None = None) -> UserCounts:
        """Count a window by user; the champion knows the windows before `end`, by default all earlier ones."""
        before = self._before(window, window if end is None else end)
        result = user_counts.count_users(self.cut_out(window), self.item_table, before, self.edges)
        if end is None:
            self._base.setdefault(window, result.sums)
        return result

    def sums(self, window: int, end: int) -> Sums:
        """Return the counts of a window summed over its users."""
        if window not in self._base:
            self.counted(window)
        if end == window:
            return Sums(self._base[window])
        result = self._base[window].copy()
        other = user_counts.counts_by_age(self.cut_out(window), self.item_table, self._before(window, end))
        for name in ("popularity", "new items", "new users", "likeness", "anchors"):
            result[PLACE[name]] = other[PLACE[name]]
        return Sums(result)

    def usual(self, end: int) -> Sums:
        """Return the counts of the reference time before a window."""
        if end not in self._usual:
            total = np.sum([self.sums(window, window).values for window in self.reference(end)], axis=0)
            counts, decile = self.popular(end), self._known(end)[0]
            seen = decile >= 0
            total[PLACE["popularity"]] = np.bincount(decile[seen], counts[seen], minlength=BINS)
            self._usual[end] = total
        return Sums(self._usual[end])

    def followed_by(self, events: Events) -> "History":
        """Return the same past with other events after the cut, without counting the past again."""
        self.usual(self.cut)  # computed now, because the copy lacks the past
        self._before(self.cut, self.cut)
        result = copy(self)
        result.events = events
        for name, last in (("_base", 1), ("_counts", 1), ("_tastes", 1), ("_usual", 0), ("_held", 0)):
            reused = {place: known for place, known in vars(self)[name].items() if place <= self.cut - last}
            setattr(result, name, reused)
        return result

    def reference(self, end: int) -> range:
        """Return the windows of the reference time."""
        return range(max(0, end - windows_before(self.window_days)), end)

    def _before(self, window: int, end: int) -> Reference:
        cut = self.span(max(end, window - windows_before(self.window_days)) - 1)[1]
        decile, taste = self._known(end)
        return Reference(cut, decile, self._anchor, taste, self._log_prices)

    def _known(self, end: int) -> tuple[Ints, NDArray[np.float32]]:
        """Return popularity tenths and tastes at the end of a reference time."""
        if end not in self._held:
            taste = np.sum([self._none, *(self._taste(j) for j in self.reference(end))], axis=0)
            self._held[end] = (user_counts.deciles(self.popular(end)), user_counts.unit(taste))
        return self._held[end]

    def popular(self, end: int) -> Ints:
        """Return [n_items] interactions with each item in the reference time."""
        counts = [self.interactions(j) for j in self.reference(end)]
        return np.asarray(np.sum(counts or [np.zeros(len(self.item_table), dtype=np.int64)], axis=0))

    def interactions(self, window: int) -> Ints:
        """Return [n_items] interactions with each item in a window."""
        if window not in self._counts:
            acts = self._acts(*self.span(window))
            self._counts[window] = np.bincount(acts.item, minlength=len(self.item_table))
        return self._counts[window]

    def _taste(self, window: int) -> NDArray[np.float32]:
        if window not in self._tastes:
            acts = self._acts(*self.span(window))
            self._tastes[window] = user_counts.tastes(acts, self.item_table, self._anchor, len(self._none))
        return self._tastes[window]

    def _acts(self, begin: int, end: int) -> Events:
        result = self.events.between(begin, end)
        return result.such(INTERACTIONS[result.kind])

    @cached_property
    def _none(self) -> NDArray[np.float32]:
        return np.zeros((int(self._anchor.max(initial=-1)) + 1, self.item_table.vectors.shape[1]), dtype=np.float32)

    @cached_property
    def _anchor(self) -> Ints:
        """[n_users] position of each anchor: the users who were active in most windows, whose taste is known."""
        active = np.zeros(self.n_users, dtype=np.int64)
        for window in range(max(0, self.cut)):
            active[np.unique(self._acts(*self.span(window)).user)] += 1
        most = np.argsort(-active, kind="stable")[:_ANCHORS]
        chosen = most[active[most] > 1]
        result = np.full(self.n_users, MISSING_CODE, dtype=np.int64)
        result[chosen] = np.arange(len(chosen))
        return result

    @cached_property
    def _log_prices(self) -> Floats:
        known = self.events.between(self.start, self.span(self.cut)[0])
        return user_counts.log_prices(known, len(self.item_table))

    def _edges(self) -> Edges:
        """Return bin edges of the features, by the users of the last windows before the cut."""
        windows = range(max(0, self.cut - _EDGE_WINDOWS), self.cut)
        result = [user_counts.features(self._acts(*self.span(window)), self.item_table)[1] for window in windows]
        return user_counts.edges_of({name: np.concatenate([one[name] for one in result]) for name in result[0]})
