"""The latest events of users in order of time, and the times between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.primitives.csr import entries
from models.primitives.state import State

if TYPE_CHECKING:
    from models.datasets.cold_start import InOrder
    from models.datasets.training_data import TrainingData

GAPS: Final = 16
"""Classes of times between events: 0 is less than an hour, and class n is about 2^n hours."""
_HOUR: Final = 3_600


class Padded(NamedTuple):
    """Histories of m users as rows of the same length, filled up on the right."""

    items: NDArray[np.int64]
    """[m, length]"""
    gaps: NDArray[np.int64]
    """[m, length]"""
    counts: NDArray[np.int64]
    """[m] events of each row, at least 1."""


class Ordered(NamedTuple):
    """n events by user and time; those of the same moment are a basket, by item."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    occurred_at: NDArray[np.int64]
    gap: NDArray[np.uint8]
    """The class of the time to the user's next event, of the last one to the cut."""

    @classmethod
    def of(cls, data: "TrainingData", time_gaps: bool = True) -> Self:
        """Return all events of the data; without `time_gaps` all classes are 0."""
        order = np.lexsort((data.item, data.occurred_at, data.user))
        user, at = data.user[order], data.occurred_at[order]
        later = np.append(at[1:], data.cut)
        later[np.append(np.diff(user) != 0, True)] = data.cut
        gap = gap_class(later - at)
        return cls(user, data.item[order], at, gap if time_gaps else np.zeros_like(gap))

    @property
    def starts_basket(self) -> NDArray[np.bool_]:
        """[n] whether an event is the first one of its user and moment."""
        first: NDArray[np.bool_] = (np.diff(self.user, prepend=-1) != 0) | (np.diff(self.occurred_at, prepend=0) != 0)
        return first


def gap_class(seconds: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the class of each time between two events."""
    classes = np.log2(1 + np.maximum(seconds, 0) / _HOUR).astype(np.int64)
    return np.minimum(classes, GAPS - 1).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Histories:
    """The events of n users, the oldest first, one user after the other."""

    items: NDArray[np.int32]
    gaps: NDArray[np.uint8]
    """The class of the time from each event to the next one, of the last one to the moment of the lists."""
    ends: NDArray[np.int64]
    """[n + 1] the events of user u are at ends[u]:ends[u + 1]."""

    @classmethod
    def of(cls, events: Ordered, n_users: int, length: int) -> Self:
        """Return the last `length` events of each user."""
        counts = np.bincount(events.user, minlength=n_users)
        from_end = np.cumsum(counts)[events.user] - np.arange(len(events.user))
        kept = from_end <= length
        ends = np.concatenate([[0], np.cumsum(np.minimum(counts, length))])
        return cls(events.item[kept], events.gap[kept], ends)

    @classmethod
    def of_clicks(cls, clicks: "InOrder", length: int, usual_gap: int) -> Self:
        """Return the last `length` clicks of each new user, whose times are unknown: all gaps are usual ones."""
        counts = np.diff(clicks.ends)
        from_end = np.repeat(clicks.ends[1:], counts) - np.arange(len(clicks.items))
        items = clicks.items[from_end <= length]
        ends = np.concatenate([[0], np.cumsum(np.minimum(counts, length))])
        return cls(items.astype(np.int32), np.full(len(items), usual_gap, dtype=np.uint8), ends)

    @property
    def counts(self) -> NDArray[np.int64]:
        """[n] the events of each user."""
        return np.diff(self.ends)

    def padded(self, users: NDArray[np.integer[Any]]) -> Padded:
        """Return the histories of users with events."""
        found, counts = entries(self.ends, users), self.counts[users]
        place = found.at - self.ends[users][found.row]
        items, gaps = (np.zeros((len(users), int(counts.max(initial=0))), dtype=np.int64) for _ in range(2))
        items[found.row, place], gaps[found.row, place] = self.items[found.at], self.gaps[found.at]
        return Padded(items, gaps, counts)

    def matrix(self, n_items: int) -> sparse.csr_array:
        """Return the items of each user: boolean CSR, users x items."""
        row = np.repeat(np.arange(len(self.ends) - 1), self.counts)
        ones = np.ones(len(row), dtype=bool)
        return sparse.csr_array((ones, (row, self.items)), shape=(len(self.ends) - 1, n_items))

    def state(self) -> State:
        """Return its arrays."""
        return {f"history.{name}": getattr(self, name) for name in ("items", "gaps", "ends")}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the stored histories."""
        return cls(*(state[f"history.{name}"] for name in ("items", "gaps", "ends")))
