"""Users and items that a model has not learned from: what is known of them, and where they find their place."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from models.columns import ITEM_ID, USER_KEY
from models.primitives.vocabulary import index_of, words


@dataclass(frozen=True)
class NewUsers:
    """What is known of m users: traits, or what they clicked, both or neither."""

    keys: NDArray[np.str_]
    """[m] user keys, sorted."""
    traits: pa.Table
    """m rows in order of `keys`, at least with the column `user_key`; others as when the model learned."""
    events: Any
    """float32 CSR, m x the model's items: how often each was clicked or bought; an empty row for nothing."""

    @classmethod
    def of(cls, traits: pa.Table, events: pa.Table, items: NDArray[np.str_]) -> Self:
        """From `user_key` and traits, one row per user, and `user_key` and `item_id`, one row per click.

        Clicks of items that are not among `items` (the model's), or of users without a row, say nothing.
        """
        ordered = traits.take(pc.sort_indices(traits[USER_KEY]))
        keys = words(ordered[USER_KEY])
        user, item = index_of(keys, events[USER_KEY]), index_of(items, events[ITEM_ID])
        known = (user >= 0) & (item >= 0)
        once = np.ones(int(known.sum()), dtype=np.float32)
        clicks = sparse.csr_array((once, (user[known], item[known])), shape=(len(keys), len(items)))
        clicks.sum_duplicates()
        return cls(keys, ordered, clicks)


@dataclass(frozen=True)
class ExtendedItems:
    """A longer list of items: the model's own ones and those of the catalogue that it does not know."""

    items: NDArray[np.str_]
    """Sorted."""
    known: NDArray[np.int64]
    """Place of each of the model's items among them."""
    new: NDArray[np.int64]
    """Place of each new one."""
    rows: pa.Table
    """The catalogue's rows of the new ones, in their order."""

    @classmethod
    def of(cls, items: NDArray[np.str_], catalogue: pa.Table) -> Self:
        """`items` and those of the `catalogue` (`item_id`, and columns as when the model learned) that are new."""
        fresh = np.flatnonzero(index_of(items, catalogue[ITEM_ID]) < 0)
        ids, first = np.unique(words(catalogue[ITEM_ID].take(fresh)), return_index=True)
        longer = np.sort(np.concatenate([items, ids]))
        known, new = np.searchsorted(longer, items), np.searchsorted(longer, ids)
        return cls(longer, known, new, catalogue.take(fresh[first]))

    def joined(self, known: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
        """One array over all items, of the values of the known and of the new ones."""
        values = np.empty((len(self.items), *known.shape[1:]), dtype=known.dtype)
        values[self.known], values[self.new] = known, new
        return values

    def words(self, column: str) -> NDArray[np.str_]:
        """A column of the new items; empty where the catalogue says nothing."""
        if column not in self.rows.column_names:
            return np.full(len(self.new), "", dtype=np.str_)
        return words(self.rows[column])
