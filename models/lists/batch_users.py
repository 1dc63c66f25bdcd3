"""What a batch knows of single users from the lake: live lists need it to apply the same rules as published ones."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import USER_KEY
from models.datasets.cold_start import InOrder
from models.primitives.json_types import JsonObject
from models.primitives.vocabulary import index_of

if TYPE_CHECKING:
    from models.datasets.cold_start import NewUsers


class ItemCodes(NamedTuple):
    """Item codes of several users, one user after the other."""

    codes: NDArray[np.int32]
    ends: NDArray[np.int64]
    """[m + 1] the codes of user u are at ends[u]:ends[u + 1]."""

    @classmethod
    def of(cls, matrix: Any, m: int) -> "ItemCodes":
        """Return the stored columns of a CSR matrix (m rows), or none for None."""
        if matrix is None:
            return cls(np.empty(0, dtype=np.int32), np.zeros(m + 1, dtype=np.int64))
        return cls(np.asarray(matrix.indices, dtype=np.int32), np.asarray(matrix.indptr, dtype=np.int64))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[m]"""
        return np.diff(self.ends)

    def rows(self, some: NDArray[np.int64], n: int) -> NDArray[np.int32]:
        """Return [r, n] the codes of some users who have `n` each."""
        of_users: NDArray[np.int32] = self.codes[self.ends[some][:, None] + np.arange(n)]
        return of_users


@dataclass(frozen=True)
class BatchUsers:
    """The users of a batch with hidden or due items, or who are newer than the model."""

    keys: NDArray[np.str_]
    """[m] all users of the batch."""
    hidden: ItemCodes
    due: ItemCodes
    clicks: ItemCodes
    """An item that was clicked twice occurs twice."""
    traits: dict[int, JsonObject]
    """The traits of users newer than the model, by their position."""
    withheld: NDArray[np.int32]
    """Codes of the items that are hidden from everybody for a reason that only the lake knows."""

    @classmethod
    def of(
        cls, keys: NDArray[np.str_], hidden: Any, due: Any, new: "NewUsers", withheld: NDArray[np.bool_]
    ) -> "BatchUsers":
        """Return them from boolean CSR of users x items, and from the users newer than the model."""
        at = index_of(keys, new.keys)
        table = new.traits
        names = [] if table is None else [name for name in table.column_names if name != USER_KEY]
        rows = table.select(names).to_pylist() if table is not None and names else [{} for _ in new.keys]
        traits = {
            user: {name: value for name, value in row.items() if value is not None}
            for user, row in zip(at.tolist(), rows, strict=True)
        }
        return cls(
            keys,
            ItemCodes.of(hidden, len(keys)),
            ItemCodes.of(due, len(keys)),
            _clicks(new, at, len(keys)),
            traits,
            np.flatnonzero(withheld).astype(np.int32),
        )

    @property
    def known(self) -> NDArray[np.int64]:
        """The positions of the users with any known fact."""
        listed = self.hidden.lengths + self.due.lengths + self.clicks.lengths > 0
        listed[[user for user, own in self.traits.items() if own]] = True
        return np.flatnonzero(listed)

    @property
    def items(self) -> NDArray[np.int32]:
        """The codes that occur, ascending."""
        parts = (self.hidden.codes, self.due.codes, self.clicks.codes, self.withheld)
        occurs = np.zeros(max(int(part.max(initial=-1)) for part in parts) + 1, dtype=bool)
        for part in parts:
            occurs[part] = True
        return np.flatnonzero(occurs).astype(np.int32)


def _clicks(new: "NewUsers", at: NDArray[np.int32], m: int) -> ItemCodes:
    """Return the clicks of the new users by their positions `at` among all m users."""
    clicks = new.in_order()
    row = np.repeat(at, np.diff(clicks.ends))
    return ItemCodes(*InOrder.of(row, clicks.items, m))


def matrix_of(rows: list[list[int]], n_items: int) -> sparse.csr_array:
    """Return a float32 CSR, rows x items, that counts the codes of each row."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    codes = np.array([code for row in rows for code in row], dtype=np.int32)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    counted = sparse.csr_array((np.ones(len(codes), dtype=np.float32), codes, ends), shape=(len(rows), n_items))
    counted.sum_duplicates()
    return counted
