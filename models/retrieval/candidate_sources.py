"""Candidate sources that rank items for the users of a chunk without a row of the whole catalogue for each user."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.primitives.state import entries
from models.primitives.threads import parallel_map
from models.primitives.vocabulary import NO_INDEX

_QUERIES: Final = 1024
"""Queries that one thread multiplies at once: they fit into the processor's cache."""

_GROWTH: Final = 4
"""The factor by which a row is read deeper if its n-th score ties with the last one read."""


class TopK(NamedTuple):
    """The n best of m rows, best first, ties by place."""

    places: NDArray[np.int64]
    """[m, n] columns; -1 if there are no more."""
    scores: NDArray[np.float32]
    """[m, n]; -inf at places of -1."""

    @classmethod
    def none(cls, m: int, n: int) -> Self:
        """Return m rows without any score."""
        return cls(np.full((m, n), NO_INDEX, dtype=np.int64), np.full((m, n), -np.inf, dtype=np.float32))

    def put(self, rows: NDArray[np.int64], scores: NDArray[np.float32], places: NDArray[np.int64]) -> None:
        """Set some rows to the result of a kernel, up to n places."""
        n = min(self.places.shape[1], places.shape[1])
        scores, places = _ties_by_place(scores, places)
        self.places[rows, :n] = places[:, :n]
        self.scores[rows, :n] = np.where(places[:, :n] == NO_INDEX, np.float32(-np.inf), scores[:, :n])


def best_scores(scores: NDArray[np.float32], n: int) -> TopK:
    """Return the n best of rows of scores [m, c]; -inf and NaN are never among them."""
    m, width = scores.shape
    best, k = TopK.none(m, n), min(n, width)
    if not m or not k:
        return best
    scored, places = _faiss().kmax(scores, min(k + 1, width))
    best.put(np.arange(m), scored[:, :k], places[:, :k])
    if k < width:
        tied = np.flatnonzero((scored[:, k - 1] == scored[:, k]) & (places[:, k] != NO_INDEX))
        _resolve(scores, tied, scored[tied, k - 1], best)
    return best


def best_products(queries: NDArray[np.float32], vectors: NDArray[np.float32], n: int) -> TopK:
    """Return the n best products of queries [m, d] and vectors [c, d], all finite. Memory is m x n, not m x c.

    The result is the same on any number of threads; other queries in a block may change the last digit.
    """
    blocks = [queries[start : start + _QUERIES] for start in range(0, len(queries), _QUERIES)]
    parts = parallel_map(lambda block: _best_products(block, vectors, n), blocks)
    return TopK(*map(np.concatenate, zip(*parts, strict=True))) if parts else TopK.none(0, n)


def _best_products(queries: NDArray[np.float32], vectors: NDArray[np.float32], n: int) -> TopK:
    best, k = TopK.none(len(queries), n), min(n, len(vectors))
    library, open_rows, width = _faiss(), np.arange(len(queries)), k + 1
    while len(open_rows) and k:
        width = min(width, len(vectors))
        scored, places = library.knn(queries[open_rows], vectors, width, library.METRIC_INNER_PRODUCT)
        sure = (scored[:, k - 1] > scored[:, -1]) | (width == len(vectors))
        best.put(open_rows[sure], scored[sure], places[sure])
        open_rows, width = open_rows[~sure], width * _GROWTH
    return best


def products(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], rows: NDArray[np.integer[Any]], places: Any
) -> NDArray[np.float32]:
    """Return [p] products of pairs: queries [m, d] at `rows`, vectors [c, d] at `places`; -inf for a row of -1."""
    library = _faiss()
    queries, vectors = (np.ascontiguousarray(array, dtype=np.float32) for array in (queries, vectors))
    of, to = (np.ascontiguousarray(at, dtype=np.int64) for at in (rows, places))
    multiplied = np.full(len(of), -np.inf, dtype=np.float32)
    x, ix, y, iy, out = (library.swig_ptr(array) for array in (queries, of, vectors, to, multiplied))
    library.pairwise_indexed_inner_product(vectors.shape[1], len(of), x, ix, y, iy, out)
    return multiplied


def _resolve(scores: NDArray[np.float32], tied: NDArray[np.int64], least: NDArray[np.float32], best: TopK) -> None:
    """Fill the rows `tied` again with the first n of the scores of `least` or more."""
    row, place = np.nonzero(scores[tied] >= least[:, None])
    value = scores[tied[row], place]
    order = np.lexsort((place, -value, row))
    row, place, value = row[order], place[order], value[order]
    at = np.arange(len(row)) - np.searchsorted(row, row)
    fits = at < best.places.shape[1]
    to = tied[row[fits]], at[fits]
    best.places[to], best.scores[to] = place[fits], value[fits]


def _ties_by_place(
    scores: NDArray[np.float32], places: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the same rows, with equal scores in order of place."""
    tied = np.flatnonzero((scores[:, 1:] == scores[:, :-1]).any(axis=1))
    if len(tied):
        order = np.lexsort((places[tied], -scores[tied]), axis=1)
        scores[tied] = np.take_along_axis(scores[tied], order, axis=1)
        places[tied] = np.take_along_axis(places[tied], order, axis=1)
    return scores, places


@cache
def _faiss() -> Any:
    """Return the library, which is imported on first use because that takes long."""
    import faiss

    # The same algorithm for few queries as for many.
    faiss.cvar.distance_compute_blas_query_bs = _QUERIES
    faiss.cvar.distance_compute_blas_threshold = 0
    # A reservoir for any k, because it is faster than a heap.
    faiss.cvar.distance_compute_min_k_reservoir = 1
    return faiss


class TopCandidates(NamedTuple):
    """The n best candidates of r rows, best first, ties by position."""

    items: NDArray[np.int32]
    """[r, n] positions in the catalogue; -1 at the end if there are no more."""
    scores: NDArray[np.float32]
    """[r, n] never NaN; -inf if there are no more."""

    @classmethod
    def joined(cls, parts: Sequence["TopCandidates"], n: int) -> Self:
        """Return the rows of all parts, each of `n` candidates."""
        none = cls(np.empty((0, n), dtype=np.int32), np.empty((0, n), dtype=np.float32))
        return cls(*map(np.concatenate, zip(none, *parts, strict=True)))


class ScopedSource(Protocol):
    """Candidates of the users of one chunk, from a subset of the items."""

    def fetch(self, rows: NDArray[np.int64], n: int) -> TopCandidates:
        """Return the `n` best of those rows of the chunk; `n` is at least 1 and at most the number of items."""


class CandidateSource(Protocol):
    """Candidates of the users of one chunk."""

    def restrict_to(self, items: NDArray[np.int32]) -> ScopedSource:
        """Return the candidates among these items, given by their positions, ascending and not empty."""


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
    items: NDArray[np.int32] | None = None
    """Positions of the items whose vectors these are; None for all."""

    def restrict_to(self, items: NDArray[np.int32]) -> ScopedSource:
        """Return the candidates among these items; their vectors are copied, unless they are all."""
        whole = len(items) == len(self.item_vectors)
        vectors = np.ascontiguousarray(self.item_vectors if whole else self.item_vectors[items])
        finite = np.isfinite(vectors).all(axis=1)
        return replace(self, item_vectors=vectors, items=items) if finite.all() else self.restrict_to(items[finite])

    def fetch(self, rows: NDArray[np.int64], n: int) -> TopCandidates:
        """Return the n best of those rows of the chunk."""
        queries, best = self.queries[rows], TopK.none(len(rows), n)
        finite = np.flatnonzero(np.isfinite(queries).all(axis=1))
        best.places[finite], best.scores[finite] = best_products(queries[finite], self.item_vectors, n)
        low = best.scores < self.least
        best.places[low], best.scores[low] = NO_INDEX, -np.inf
        return _candidates(best, self.items)


@dataclass(frozen=True)
class DenseSource:
    """Ranks by scores that are in memory."""

    scores: NDArray[np.float32]
    """[m, n_items] of the users of the chunk; -inf and NaN are no candidates."""
    items: NDArray[np.int32] | None = None
    """Positions of the items whose scores these are; None for all."""

    def restrict_to(self, items: NDArray[np.int32]) -> ScopedSource:
        """Return the candidates among these items; their scores are copied, unless they are all."""
        whole = len(items) == self.scores.shape[1]
        return DenseSource(self.scores if whole else self.scores[:, items], items)

    def fetch(self, rows: NDArray[np.int64], n: int) -> TopCandidates:
        """Return the n best of those rows of the chunk."""
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


def _candidates(best: TopK, items: NDArray[np.int32] | None) -> TopCandidates:
    """Return the items at these places; without items the places are those of all."""
    chosen = best.places.astype(np.int32)
    if items is not None:
        present = chosen != NO_INDEX
        chosen[present] = items[chosen[present]]
    return TopCandidates(chosen, best.scores)
