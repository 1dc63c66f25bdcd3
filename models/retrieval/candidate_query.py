"""Queries retrievers for candidates: the best of some items for each user, without those hidden from that user."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.primitives.vocabulary import NO_INDEX
from models.retrieval.candidate_sources import best_scores

T = TypeVar("T")

_BLOCK: Final = 4_000_000
"""Scores that are held at once: 16 MB."""


class CandidateScope(NamedTuple):
    """The items among which candidates of m users are sought."""

    items: NDArray[np.int64]
    """[c] item positions, ascending."""
    row: NDArray[np.int64]
    """[h] users, ascending, one entry per hidden pair."""
    place: NDArray[np.int64]
    """[h] the item that is hidden from the user, by its place in `items`."""


class ScopeMemory:
    """What a retriever prepares for the items of a scope: they are the same array for all users of a model."""

    def __init__(self) -> None:
        self._last: tuple[NDArray[np.int64], Any] | None = None

    def prepared(self, items: NDArray[np.int64], prepare: Callable[[NDArray[np.int64]], T]) -> T:
        """Return what `prepare` returns for these items; it is called again only for another array."""
        last = self._last
        if last is None or last[0] is not items:
            last = self._last = items, prepare(items)
        return last[1]


class PreparesScopes:
    """A retriever that prepares something for the items of a scope."""

    @cached_property
    def _scoped(self) -> ScopeMemory:
        return ScopeMemory()


class CandidatePairs(NamedTuple):
    """Pairs of user and item in any order, none of them twice."""

    row: NDArray[np.int64]
    item: NDArray[np.int64]

    @classmethod
    def of(cls, items: NDArray[np.integer[Any]]) -> "CandidatePairs":
        """Return the pairs of lists of items [m, n], with -1 at the end of shorter lists."""
        row, column = np.nonzero(items != NO_INDEX)
        return cls(row, items[row, column].astype(np.int64))


def best_by_scores(
    score: Callable[[NDArray[np.int32]], NDArray[np.float32]], users: NDArray[np.int32], scope: CandidateScope, n: int
) -> CandidatePairs:
    """Return the n best by `score`, which gives users' scores of the items [m, c]; ties go by position.

    A score of -inf is no candidate. The rows of one call to `score` fit into 16 MB.
    """
    best, at_once = np.full((len(users), n), NO_INDEX, dtype=np.int64), max(1, _BLOCK // max(1, len(scope.items)))
    for start in range(0, len(users), at_once):
        block = slice(start, start + at_once)
        scores = score(users[block])
        hidden = slice(*np.searchsorted(scope.row, [start, start + at_once]))
        scores[scope.row[hidden] - start, scope.place[hidden]] = -np.inf
        places = best_scores(scores, n).places
        best[block] = np.where(places == NO_INDEX, NO_INDEX, scope.items[places])
    return CandidatePairs.of(best)


def scores_of_pairs(
    score: Callable[[NDArray[np.int32]], NDArray[np.float32]],
    users: NDArray[np.int32],
    place: NDArray[np.integer[Any]],
) -> NDArray[np.float32]:
    """Return [n] the scores of pairs by `score`, which gives users' scores of some items [m, c].

    `place` [n] is the column of each pair's item. The rows of one call to `score` fit into 16 MB.
    """
    scores = np.empty(len(users), dtype=np.float32)
    different, row = np.unique(users, return_inverse=True)
    at_once = max(1, _BLOCK // (int(place.max(initial=0)) + 1))
    for start in range(0, len(different), at_once):
        own = np.flatnonzero(row // at_once == start // at_once)
        scores[own] = score(different[start : start + at_once])[row[own] - start, place[own]]
    return scores


def first_of_order(order: NDArray[np.int64], known: NDArray[np.bool_], scope: CandidateScope, n: int) -> CandidatePairs:
    """Return the first n places of an order of the items [c] for every known user, without those hidden from each."""
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    # No user needs more of the order than n items and the user's hidden ones.
    width = min(len(order), n + int(np.bincount(scope.row, minlength=1).max()))
    free = np.repeat(known[:, None], width, axis=1)
    at = rank[scope.place]
    free[scope.row[at < width], at[at < width]] = False
    row, at = np.nonzero(free & (np.cumsum(free, axis=1) <= n))
    return CandidatePairs(row, scope.items[order[at]])
