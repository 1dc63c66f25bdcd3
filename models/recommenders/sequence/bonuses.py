"""What the purchases of own items score, beside the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.primitives.csr import entries
from models.primitives.pair_table import Lookup
from models.primitives.sparse_state import parts, whole
from models.primitives.state import State
from models.primitives.vocabulary import NO_INDEX
from models.recommenders.sequence.repeats import Repeats

_NAME: Final = "bonuses"


@dataclass(frozen=True, eq=False)
class Bonuses:
    """One for each own item of each user."""

    of_own: sparse.csr_array
    """float32 CSR, users x items."""
    repeats: Repeats
    """Joins them with the network's scores."""

    @classmethod
    def none(cls, n_users: int, n_items: int) -> Self:
        """Return those of users without own items."""
        return cls(sparse.csr_array((n_users, n_items), dtype=np.float32), Repeats.none())

    def added(
        self, users: NDArray[np.int32], scores: NDArray[np.float32], column_of: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Join them to scores of users (-1: strangers) and return these.

        The columns are all items, or those with a column in `column_of` [n_items]; NO_INDEX for the others.
        """
        own = entries(self.of_own.indptr, users)
        item = self.of_own.indices[own.at]
        column = item if column_of is None else column_of[item]
        known = column != NO_INDEX
        place = own.row[known], column[known]
        scores[place] = self.repeats.joined(scores[place], self.of_own.data[own.at[known]])
        return scores

    def added_to_pairs(
        self,
        users: NDArray[np.int32],
        row: NDArray[np.int64],
        items: NDArray[np.integer[Any]],
        scores: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return [n] the scores of items for the users at these rows with theirs."""
        own, width = entries(self.of_own.indptr, users), self.of_own.shape[1]
        codes = own.row * width + self.of_own.indices[own.at]
        bonus = Lookup(width, codes, self.of_own.data[own.at, None]).find(row, items)[:, 0]
        return np.where(np.isnan(bonus), scores, self.repeats.joined(scores, bonus))

    def renumbered(self, places: NDArray[np.integer[Any]], n_items: int) -> Self:
        """Return them for a longer catalogue, in which the items have these ascending places."""
        items = places[self.of_own.indices].astype(np.int32)
        shape = (self.of_own.shape[0], n_items)
        return type(self)(sparse.csr_array((self.of_own.data, items, self.of_own.indptr), shape=shape), self.repeats)

    def state(self) -> State:
        """Return their arrays."""
        return parts(_NAME, self.of_own)

    @classmethod
    def from_state(
        cls, state: Mapping[str, np.ndarray[Any, Any]], n_users: int, n_items: int, repeats: Repeats
    ) -> Self:
        """Return the stored ones."""
        return cls(whole(_NAME, state, (n_users, n_items)), repeats)
