"""Lists as the list builder returns them: item positions, scores and reasons of many users."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.lists.recommendation_lists import Lists
from models.primitives.vocabulary import NO_INDEX
from models.recommenders.explanations.sentences import NONE, ReasonsNaming


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
