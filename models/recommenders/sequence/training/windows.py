"""Cuts histories into windows to learn from, and draws the batches of an epoch by seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.recommenders.sequence.histories import Ordered
from models.recommenders.sequence.network_settings import Config

_POOL: Final = 32
"""Batches whose windows are sorted by length together: short ones need no padding."""
_STEPS: Final = 16
"""Fewest steps of an epoch."""
IGNORED: Final = -1
"""The target of a place without an event."""


class Batch(NamedTuple):
    """Windows of m histories, filled up on the right."""

    items: NDArray[np.int64]
    """[m, length]"""
    gaps: NDArray[np.int64]
    kinds: NDArray[np.int64]
    targets: NDArray[np.int64]
    """The item of the next purchase at each place; IGNORED after the end."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Every event before a user's last purchase is read once; windows of long histories follow each other."""

    events: Ordered
    basket: NDArray[np.int64]
    """[n] number of each event's basket."""
    bought: NDArray[np.int64]
    """[p] the events that are purchases."""
    earliest: NDArray[np.int64]
    """[n] the place in `bought` of the first purchase after each event; not of the same user after the last one."""
    latest: NDArray[np.int64]
    """[n] that of the last one to draw from, up to the horizon after the first."""
    first: NDArray[np.int64]
    """[w] the first event of each window."""
    count: NDArray[np.int64]
    """[w] its events; the target of its last one comes after it."""

    @classmethod
    def of(cls, events: Ordered, n_users: int, length: int, horizon: int = 0) -> Self:
        """Return the windows of at most `length` events; the oldest window of a user may be shorter."""
        start = np.searchsorted(events.user, np.arange(n_users))
        last = start.copy()
        bought = np.flatnonzero(events.bought)
        last[events.user[bought]] = bought  # of several values the last one stays
        targets = last - start
        windows = -(-targets // length)
        user = np.repeat(np.arange(n_users), windows)
        before_end = np.arange(len(user)) - np.repeat(np.cumsum(windows) - windows, windows)
        end = targets[user] - before_end * length
        first = np.maximum(end - length, 0)
        after = np.searchsorted(bought, np.arange(len(events.user)), side="right")
        latest = _within(events, bought, after, horizon) if horizon else after
        return cls(events, np.cumsum(events.starts_basket), bought, after, latest, start[user] + first, end - first)

    def batches(self, config: Config, random: np.random.Generator) -> Iterator[Batch]:
        """Yield every window once, in random order and with equal events of each basket in random order."""
        size = max(1, min(config.batch, len(self.first) // _STEPS))
        shuffled = np.lexsort((random.random(len(self.basket)), self.events.kind, self.basket))
        item = self.events.item[shuffled].astype(np.int64)
        order = random.permutation(len(self.first))
        parts: list[NDArray[np.int64]] = []
        for pool in np.split(order, range(_POOL * size, len(order), _POOL * size)):
            by_length = pool[np.argsort(self.count[pool], kind="stable")]
            parts += np.split(by_length, range(size, len(by_length), size))
        for place in random.permutation(len(parts)).tolist():
            yield self._batch(item, parts[place], random)

    def _batch(self, item: NDArray[np.int64], windows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        first, count = self.first[windows, None], self.count[windows, None]
        place = np.arange(int(count.max()))
        inside = place < count
        at = np.where(inside, first + place, first)
        columns = (item, self.events.gap, self.events.kind)
        items, gaps, kinds = (np.where(inside, column[at], 0).astype(np.int64) for column in columns)
        target = self.earliest[at]
        if (more := self.latest[at] - target).any():
            target = target + (random.random(at.shape) * (more + 1)).astype(np.int64)
        return Batch(items, gaps, kinds, np.where(inside, item[self.bought[target]], IGNORED))


def _within(events: Ordered, bought: NDArray[np.int64], earliest: NDArray[np.int64], horizon: int) -> NDArray[np.int64]:
    """Return the places of the same users' last purchases up to `horizon` seconds after these."""
    at = events.occurred_at - events.occurred_at.min(initial=0)
    code = (events.user.astype(np.int64) * (int(at.max(initial=0)) + horizon + 1) + at)[bought]
    until = np.searchsorted(code, code + horizon, side="right") - 1
    return np.append(until, len(code))[earliest]
