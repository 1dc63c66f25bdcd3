"""Lists of many users: as the list builder returns them, and as batches store them with what they know of users."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import USER_KEY
from models.datasets.cold_start import InOrder, NewUsers
from models.primitives.json_types import JsonObject
from models.primitives.vocabulary import NO_INDEX, index_of
from models.recommenders.explanations.sentences import NONE, ReasonsNaming

CHECKS: Final = {
    "empty_places": "empty places without a reason why the list is short",
    "gaps": "items behind an empty place",
    "repeats": "the same item twice",
    "not_on_sale": "items that are not known or must not be shown",
    "unscored": "scores that are no numbers",
    "unexplained": "items without a reason",
}
"""The counts that must be 0 in every list."""


class Lists(NamedTuple):
    """Lists of m subjects: users, or items in placements about items."""

    rows: NDArray[np.int64]
    """[m] positions among all subjects that are to have a list."""
    subjects: NDArray[np.str_]
    """[m] keys of users or ids of items."""
    items: NDArray[np.int32]
    """[m, k] codes, best first, -1 at the end of lists that are shorter."""
    scores: NDArray[np.float32]
    """[m, k]"""
    reasons: NDArray[np.int32]
    """[m, k] codes; -1 if there is no item."""
    short: NDArray[np.str_]
    """[m] why a list is shorter than k; empty if it is full."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[m] items on each list."""
        counts: NDArray[np.int64] = (self.items >= 0).sum(axis=1)
        return counts


def count_violations(lists: Lists, allowed: NDArray[np.bool_]) -> dict[str, NDArray[np.int32]]:
    """Return [m] counts of each of `CHECKS` per list; `allowed` [n] marks the item codes that may be shown."""
    listed, k = lists.items >= 0, lists.items.shape[1]
    lengths, n = listed.sum(axis=1), len(allowed)
    ordered = np.sort(lists.items, axis=1)
    known = listed & (lists.items < n)
    may = known & allowed[np.where(known, lists.items, 0)]
    counted = {
        "empty_places": np.where(lists.short == "", k - lengths, 0),
        "gaps": (listed[:, 1:] & ~listed[:, :-1]).sum(axis=1),
        "repeats": ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).sum(axis=1),
        "not_on_sale": (listed & ~may).sum(axis=1),
        "unscored": (listed & ~np.isfinite(lists.scores)).sum(axis=1),
        "unexplained": (listed & (lists.reasons < 0)).sum(axis=1),
    }
    return {name: counted[name].astype(np.int32) for name in CHECKS}


class UserList(NamedTuple):
    """One user's list, the best item first."""

    key: str
    items: list[str]
    scores: list[float]
    reasons: list[str]


class RankedLists(NamedTuple):
    """Lists of m users, with the texts of their reasons."""

    rows: NDArray[np.int64]
    """[m] positions among the keys of the build."""
    keys: NDArray[np.str_]
    items: NDArray[np.int32]
    """[m, k] item positions, best first, -1 at the end of lists that are shorter."""
    scores: NDArray[np.float32]
    from_fallback: NDArray[np.bool_]
    """[m, k] true if the model has no score for the item."""
    reasons: NDArray[np.int32]
    """[m, k] positions in `texts`; -1 if there is no item."""
    texts: list[str]
    shortfall: NDArray[np.str_]
    """[m] why a list is shorter than k; empty if it is full."""

    def without(self, sentences: ReasonsNaming) -> "RankedLists":
        """Return the same lists, with a reason that claims nothing in place of `sentences`."""
        return self._replace(texts=[NONE if text in sentences else text for text in self.texts]) if sentences else self

    def coded(self, codes: Callable[[list[str]], NDArray[np.int32]]) -> Lists:
        """Return the lists with the codes that `codes` gives to the texts."""
        used, place = np.unique(self.reasons, return_inverse=True)
        listed = used >= 0
        code = np.full(len(used), NO_INDEX, dtype=np.int32)
        code[listed] = codes([self.texts[position] for position in used[listed].tolist()])
        reasons = code[place].reshape(self.reasons.shape)
        return Lists(self.rows, self.keys, self.items, self.scores, reasons, self.shortfall)

    def user_lists(self, items: NDArray[np.str_]) -> dict[int, UserList]:
        """Return the list of each user by row, with the ids of `items`."""
        lengths, texts = (self.items >= 0).sum(axis=1).tolist(), np.array([*self.texts, ""], dtype=object)
        columns = items[self.items].tolist(), self.scores.tolist(), texts[self.reasons].tolist()
        rows = zip(self.rows.tolist(), self.keys.tolist(), lengths, *columns, strict=True)
        return {row: UserList(key, ids[:n], scores[:n], why[:n]) for row, key, n, ids, scores, why in rows}


@dataclass(frozen=True)
class BatchUsers:
    """The users of a batch with hidden or due items, or who are newer than the model."""

    keys: NDArray[np.str_]
    """[m] all users of the batch."""
    hidden: InOrder
    due: InOrder
    clicks: InOrder
    """An item that was clicked twice occurs twice."""
    traits: dict[int, JsonObject]
    """The traits of users newer than the model, by their position."""
    withheld: NDArray[np.int32]
    """Codes of the items that are hidden from everybody for a reason that only the lake knows."""

    @classmethod
    def of(
        cls, keys: NDArray[np.str_], hidden: Any, due: Any, new: NewUsers, withheld: NDArray[np.bool_]
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
            InOrder.of_matrix(hidden, len(keys)),
            InOrder.of_matrix(due, len(keys)),
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
        parts = (self.hidden.items, self.due.items, self.clicks.items, self.withheld)
        occurs = np.zeros(max(int(part.max(initial=-1)) for part in parts) + 1, dtype=bool)
        for part in parts:
            occurs[part] = True
        return np.flatnonzero(occurs).astype(np.int32)


def _clicks(new: NewUsers, at: NDArray[np.int32], m: int) -> InOrder:
    """Return the clicks of the new users by their positions `at` among all m users."""
    clicks = new.in_order()
    row = np.repeat(at, clicks.lengths)
    return InOrder.of(row, clicks.items, m)


def matrix_of(rows: list[list[int]], n_items: int) -> sparse.csr_array:
    """Return a float32 CSR, rows x items, that counts the codes of each row."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    codes = np.array([code for row in rows for code in row], dtype=np.int32)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    counted = sparse.csr_array((np.ones(len(codes), dtype=np.float32), codes, ends), shape=(len(rows), n_items))
    counted.sum_duplicates()
    return counted
