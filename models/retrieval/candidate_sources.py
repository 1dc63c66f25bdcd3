"""Shelves: who ranks some items for the users of a chunk, fast, and without a row of the whole catalogue for each."""

from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.primitives.csr import entries
from models.primitives.vocabulary import NO_INDEX
from models.retrieval.exact_top_k import EMPTY, TopK, best_products, best_scores
from models.retrieval.source_protocols import ScopedSource, TopCandidates

_BLOCK: Final = 4_000_000
"""Scores of pairs that are laid out at once: 16 MB."""


@runtime_checkable
class Factored(Protocol):
    """A model whose scores are products of vectors."""

    def queries(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """[m, d] a vector per user; rows of NaN where the model has nothing to say, as of strangers (-1)."""

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """[n_items, d]; what is not finite belongs to items of which the model has nothing to say."""


@dataclass(frozen=True)
class FactorSource:
    """Ranks by the product of a user's and an item's vector."""

    item_vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    """[m, d] of the users of the chunk; both as `Factored` has them."""
    least: float = -np.inf
    """Items with a lower product are not found."""

    def restrict_to(self, items: NDArray[np.int32]) -> ScopedSource:
        """The vectors of these items are copied, unless they are all."""
        whole = len(items) == len(self.item_vectors)
        vectors = np.ascontiguousarray(self.item_vectors if whole else self.item_vectors[items])
        told = np.isfinite(vectors).all(axis=1)
        return _Products(items, vectors, self.queries, self.least) if told.all() else self.restrict_to(items[told])


@dataclass(frozen=True)
class _Products:
    items: NDArray[np.int32]
    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    least: float

    def fetch(self, rows: NDArray[np.int64], n: int) -> TopCandidates:
        queries, best = self.queries[rows], TopK.none(len(rows), n)
        told = np.flatnonzero(np.isfinite(queries).all(axis=1))
        best.places[told], best.scores[told] = best_products(queries[told], self.vectors, n)
        low = best.scores < self.least
        best.places[low], best.scores[low] = EMPTY, -np.inf
        return _fetched(best, self.items)


@dataclass(frozen=True)
class DenseSource:
    """Ranks by scores that are in memory."""

    scores: NDArray[np.float32]
    """[m, n_items] of the users of the chunk; -inf and NaN are never found."""

    def restrict_to(self, items: NDArray[np.int32]) -> ScopedSource:
        """The scores of these items are copied, unless they are all."""
        whole = len(items) == self.scores.shape[1]
        return _Rows(items, self.scores if whole else self.scores[:, items])


@dataclass(frozen=True)
class _Rows:
    items: NDArray[np.int32]
    scores: NDArray[np.float32]

    def fetch(self, rows: NDArray[np.int64], n: int) -> TopCandidates:
        return _fetched(best_scores(self.scores[rows], n), self.items)


@dataclass(frozen=True)
class PairSource:
    """Ranks only the pairs that it was given, in order of user and item."""

    indptr: NDArray[np.int64]
    """[m + 1] those of row r stand at indptr[r]:indptr[r + 1]."""
    item: NDArray[np.int32]
    score: NDArray[np.float32]

    @classmethod
    def of(cls, m: int, row: NDArray[Any], item: NDArray[Any], score: NDArray[np.float32]) -> Self:
        """From pairs in any order, none of them twice, of a chunk of m users; those of -inf and NaN are left out."""
        kept = np.flatnonzero(score > -np.inf)
        row, item, score = row[kept], item[kept].astype(np.int32), score[kept]
        step = np.diff(row)
        if ((step < 0) | ((step == 0) & (np.diff(item) < 0))).any():
            order = np.lexsort((item, row))
            row, item, score = row[order], item[order], score[order]
        return cls(np.searchsorted(row, np.arange(m + 1)), item, score)

    def restrict_to(self, items: NDArray[np.int32]) -> ScopedSource:
        """The pairs with these items."""
        if not len(self.item):
            return self
        wanted = np.zeros(int(self.item.max()) + 1, dtype=bool)
        wanted[items[items < len(wanted)]] = True
        kept = wanted[self.item]
        before = np.concatenate([[0], np.cumsum(kept)])
        return PairSource(before[self.indptr], self.item[kept], self.score[kept])

    def fetch(self, rows: NDArray[np.int64], n: int) -> TopCandidates:
        """The n best pairs of those rows of the chunk."""
        first = self.indptr[rows]
        count = self.indptr[rows + 1] - first
        width = int(count.max(initial=0))
        best, at_once = TopK.none(len(rows), n), max(1, _BLOCK // max(1, width))
        for start in range(0, len(rows) if width else 0, at_once):
            block = slice(start, start + at_once)
            there = np.arange(width) < count[block, None]
            laid_out = np.full(there.shape, -np.inf, dtype=np.float32)
            laid_out[there] = self.score[entries(self.indptr, rows[block]).at]
            best.places[block], best.scores[block] = best_scores(laid_out, n)
        best.places[:] = np.where(best.places == EMPTY, EMPTY, best.places + first[:, None])
        return _fetched(best, self.item)


def _fetched(best: TopK, items: NDArray[np.int32]) -> TopCandidates:
    """The items at these places."""
    found = np.full(best.places.shape, NO_INDEX, dtype=np.int32)
    there = best.places != EMPTY
    found[there] = items[best.places[there]]
    return TopCandidates(found, best.scores)
