"""Represent users that a model has not learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import ITEM_ID, USER_KEY
from models.primitives.arrow_types import pa, pc
from models.primitives.vocabulary import index_of, words


class InOrder(NamedTuple):
    """The items of m users, one user after the other; in order of time if it is known."""

    items: NDArray[np.int32]
    ends: NDArray[np.int64]
    """[m + 1] the items of user u are at ends[u]:ends[u + 1]."""

    @classmethod
    def of(cls, user: NDArray[np.int32], item: NDArray[np.int32], m: int) -> Self:
        """Return the items of m users, from events in order of time."""
        counts = np.bincount(user, minlength=m)
        return cls(item[np.argsort(user, kind="stable")], np.concatenate([[0], np.cumsum(counts)]))

    @classmethod
    def of_matrix(cls, matrix: Any, m: int) -> Self:
        """Return the stored columns of a CSR matrix (m rows), or none for None."""
        if matrix is None:
            return cls(np.empty(0, dtype=np.int32), np.zeros(m + 1, dtype=np.int64))
        return cls(np.asarray(matrix.indices, dtype=np.int32), np.asarray(matrix.indptr, dtype=np.int64))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[m]"""
        return np.diff(self.ends)

    def rows(self, some: NDArray[np.int64], n: int) -> NDArray[np.int32]:
        """Return [r, n] the items of some users who have `n` each."""
        of_users: NDArray[np.int32] = self.items[self.ends[some][:, None] + np.arange(n)]
        return of_users


@dataclass(frozen=True)
class NewUsers:
    """The known data of m users: traits, clicks, both or neither."""

    keys: NDArray[np.str_]
    """[m] user keys, sorted."""
    traits: pa.Table | None
    """m rows in order of `keys`: the column `user_key`, and the columns that the model learned from; None without any
    trait of any user."""
    events: sparse.csr_array
    """float32 CSR, m x the model's items: clicks or purchases of each item; an empty row if there are none."""
    order: InOrder | None = None
    """The same events in order of time; None if it is unknown."""

    @classmethod
    def of(cls, traits: pa.Table, events: pa.Table, items: NDArray[np.str_]) -> Self:
        """Build it from traits (`user_key`, one row per user) and events (`user_key`, `item_id`, one row per click).

        Events come in order of time. Those on items outside `items` (the model's items), and of users without a row,
        are ignored.
        """
        ordered = traits.take(pc.sort_indices(traits[USER_KEY]))
        keys = words(ordered[USER_KEY])
        user, item = index_of(keys, events[USER_KEY]), index_of(items, events[ITEM_ID])
        known = (user >= 0) & (item >= 0)
        once = np.ones(int(known.sum()), dtype=np.float32)
        clicks = sparse.csr_array((once, (user[known], item[known])), shape=(len(keys), len(items)))
        clicks.sum_duplicates()
        return cls(keys, ordered, clicks, InOrder.of(user[known], item[known], len(keys)))

    def in_order(self) -> InOrder:
        """Return the events in order of time; if it is unknown, by item."""
        if self.order is not None:
            return self.order
        events = self.events.tocoo()
        user, item = (np.repeat(part, events.data.astype(np.int64)) for part in events.coords)
        return InOrder.of(user, item.astype(np.int32), len(self.keys))
