"""How retrievers name candidates: the best of some items for each user, but none that is hidden from him."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.retrieval.exact_top_k import EMPTY, best_scores

_BLOCK: Final = 4_000_000
"""Scores that are held at once: 16 MB."""


class CandidateScope(NamedTuple):
    """Where candidates of m users are sought."""

    items: NDArray[np.int64]
    """[c] item positions, ascending."""
    row: NDArray[np.int64]
    """[h] users, ascending, from each of whom one of the items is hidden:"""
    place: NDArray[np.int64]
    """[h] this, by its place in `items`."""


class CandidatePairs(NamedTuple):
    """Pairs in any order, none of them twice."""

    row: NDArray[np.int64]
    item: NDArray[np.int64]

    @classmethod
    def of(cls, items: NDArray[np.integer[Any]]) -> "CandidatePairs":
        """From lists of items [m, n], with -1 where there are no more."""
        row, column = np.nonzero(items != EMPTY)
        return cls(row, items[row, column].astype(np.int64))


def best_by_scores(
    score: Callable[[NDArray[np.int32]], NDArray[np.float32]], users: NDArray[np.int32], scope: CandidateScope, n: int
) -> CandidatePairs:
    """The n best by `score`, which gives users' scores of the items [m, c]; -inf is never named. Ties by position.

    Only so many rows are asked for at once as fit into 16 MB.
    """
    named, at_once = np.full((len(users), n), EMPTY, dtype=np.int64), max(1, _BLOCK // max(1, len(scope.items)))
    for start in range(0, len(users), at_once):
        block = slice(start, start + at_once)
        scores = score(users[block])
        hidden = slice(*np.searchsorted(scope.row, [start, start + at_once]))
        scores[scope.row[hidden] - start, scope.place[hidden]] = -np.inf
        places = best_scores(scores, n).places
        named[block] = np.where(places == EMPTY, EMPTY, scope.items[places])
    return CandidatePairs.of(named)


def best_of_one_order(
    scores: NDArray[np.float32], known: NDArray[np.bool_], scope: CandidateScope, n: int
) -> CandidatePairs:
    """The n best by scores of the items [c] that are the same for every known user. Ties by position."""
    order = np.argsort(-scores, kind="stable")
    stands = np.empty(len(order), dtype=np.int64)
    stands[order] = np.arange(len(order))
    # Nobody needs more of the order than n items and those that are hidden from him.
    width = min(len(order), n + int(np.bincount(scope.row, minlength=1).max()))
    free = np.repeat(known[:, None], width, axis=1)
    at = stands[scope.place]
    free[scope.row[at < width], at[at < width]] = False
    row, at = np.nonzero(free & (np.cumsum(free, axis=1) <= n))
    return CandidatePairs(row, scope.items[order[at]])
