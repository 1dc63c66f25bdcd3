"""Candidate sources that rank items for the users of a chunk without a row of the whole catalogue for each user."""

from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.primitives.state import entries
from models.primitives.vocabulary import NO_INDEX
from models.retrieval.exact_top_k import TopK, best_products, best_scores
from models.retrieval.source_protocols import ScopedSource, TopCandidates

_BLOCK: Final = 4_000_000
"""Scores of pairs that are laid out at once: 16 MB."""
_FEW: Final = 32
"""A pair is searched among items in this many steps: fewer than one per item are faster than a mark for each."""


@runtime_checkable
class Factored(Protocol):
    """A model whose scores are products of vectors.

    With an attribute `least_score`, lower products are no candidates.
    """

    def queries(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return [m, d] a vector per user; rows of NaN if the model has no score, as for strangers (-1)."""

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """[n_items, d]; vectors that are not finite belong to items that the model does not score."""


@dataclass(frozen=True)
class FactorSource:
    """Ranks by the product of a user's and an item's vector."""

    item_vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    """[m, d] of the users of the chunk; both as `Factored` has them."""
    least: float = -np.inf
    """Items with a lower product are no candidates."""

    def restrict_to(self, items: NDArray[np.int32]) -> ScopedSource:
        """Return the candidates among these items; their vectors are copied, unless they are all."""
        whole = len(items) == len(self.item_vectors)
        vectors = np.ascontiguousarray(self.item_vectors if whole else self.item_vectors[items])
        finite = np.isfinite(vectors).all(axis=1)
        return _Products(items, vectors, self.queries, self.least) if finite.all() else self.restrict_to(items[finite])


@dataclass(frozen=True)
class _Products:
    items: NDArray[np.int32]
    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    least: float

    def fetch(self, rows: NDArray[np.int64], n: int) -> TopCandidates:
        queries, best = self.queries[rows], TopK.none(len(rows), n)
        finite = np.flatnonzero(np.isfinite(queries).all(axis=1))
        best.places[finite], best.scores[finite] = best_products(queries[finite], self.vectors, n)
        low = best.scores < self.least
        best.places[low], best.scores[low] = NO_INDEX, -np.inf
        return _candidates(best, self.items)


@dataclass(frozen=True)
class DenseSource:
    """Ranks by scores that are in memory."""

    scores: NDArray[np.float32]
    """[m, n_items] of the users of the chunk; -inf and NaN are no candidates."""

    def restrict_to(self, items: NDArray[np.int32]) -> ScopedSource:
        """Return the candidates among these items; their scores are copied, unless they are all."""
        whole = len(items) == self.scores.shape[1]
        return _Rows(items, self.scores if whole else self.scores[:, items])


@dataclass(frozen=True)
class _Rows:
    items: NDArray[np.int32]
    scores: NDArray[np.float32]

    def fetch(self, rows: NDArray[np.int64], n: int) -> TopCandidates:
        return _candidates(best_scores(self.scores[rows], n), self.items)


@dataclass(frozen=True)
class PairSource:
    """Ranks only the pairs that it was given, in order of user and item."""

    indptr: NDArray[np.int64]
    """[m + 1] the pairs of row r are at indptr[r]:indptr[r + 1]."""
    item: NDArray[np.int32]
    score: NDArray[np.float32]

    @classmethod
    def of(cls, m: int, row: NDArray[Any], item: NDArray[Any], score: NDArray[np.float32]) -> Self:
        """Return a source of pairs in any order, none of them twice, of a chunk of m users.

        Pairs with a score of -inf or NaN are left out.
        """
        scored = np.flatnonzero(score > -np.inf)
        row, item, score = row[scored], item[scored].astype(np.int32), score[scored]
        step = np.diff(row)
        if ((step < 0) | ((step == 0) & (np.diff(item) < 0))).any():
            order = np.lexsort((item, row))
            row, item, score = row[order], item[order], score[order]
        return cls(np.searchsorted(row, np.arange(m + 1)), item, score)

    def restrict_to(self, items: NDArray[np.int32]) -> ScopedSource:
        """Return the pairs with these items."""
        if not len(self.item):
            return self
        chosen = _among(self.item, items)
        before = np.concatenate([[0], np.cumsum(chosen)])
        return PairSource(before[self.indptr], self.item[chosen], self.score[chosen])

    def fetch(self, rows: NDArray[np.int64], n: int) -> TopCandidates:
        """Return the n best pairs of those rows of the chunk."""
        first = self.indptr[rows]
        count = self.indptr[rows + 1] - first
        width = int(count.max(initial=0))
        best, at_once = TopK.none(len(rows), n), max(1, _BLOCK // max(1, width))
        for start in range(0, len(rows) if width else 0, at_once):
            block = slice(start, start + at_once)
            present = np.arange(width) < count[block, None]
            laid_out = np.full(present.shape, -np.inf, dtype=np.float32)
            laid_out[present] = self.score[entries(self.indptr, rows[block]).at]
            best.places[block], best.scores[block] = best_scores(laid_out, n)
        best.places[:] = np.where(best.places == NO_INDEX, NO_INDEX, best.places + first[:, None])
        return _candidates(best, self.item)


def _among(some: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return [n] which of `some` are among `items`, which are ascending and not empty."""
    if len(some) * _FEW < len(items):
        found: NDArray[np.bool_] = items[np.minimum(np.searchsorted(items, some), len(items) - 1)] == some
        return found
    in_scope = np.zeros(int(some.max()) + 1, dtype=bool)
    in_scope[items[items < len(in_scope)]] = True
    return in_scope[some]


def _candidates(best: TopK, items: NDArray[np.int32]) -> TopCandidates:
    """Return the items at these places."""
    chosen = np.full(best.places.shape, NO_INDEX, dtype=np.int32)
    present = best.places != NO_INDEX
    chosen[present] = items[best.places[present]]
    return TopCandidates(chosen, best.scores)
