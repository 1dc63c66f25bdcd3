"""The n best of each row, exactly: of scores that are there, and of products that are never held all at once.

The kernels are faiss's (Douze et al. 2024). Which of equal scores they keep is a matter of chance; here the first is
kept.
"""

from functools import cache
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.primitives.threads import parallel_map

EMPTY: Final = -1
"""Stands where a row has fewer scores than were asked for."""

_BLOCK: Final = 1024
"""Queries that are multiplied at once, in one thread: so many stay near the processor."""

_GROWTH: Final = 4
"""So many times as wide is the next look at a row whose n-th score ties with the last one seen."""


class TopK(NamedTuple):
    """The n best of m rows, best first, ties by place."""

    places: NDArray[np.int64]
    """[m, n] columns; -1 where there are no more."""
    scores: NDArray[np.float32]
    """[m, n]; -inf there."""

    @classmethod
    def none(cls, m: int, n: int) -> Self:
        """Nothing of any row."""
        return cls(np.full((m, n), EMPTY, dtype=np.int64), np.full((m, n), -np.inf, dtype=np.float32))

    def put(self, rows: NDArray[np.int64], scores: NDArray[np.float32], places: NDArray[np.int64]) -> None:
        """Set some rows to what a kernel found, as far as there is room."""
        n = min(self.places.shape[1], places.shape[1])
        scores, places = _ties_by_place(scores, places)
        self.places[rows, :n] = places[:, :n]
        self.scores[rows, :n] = np.where(places[:, :n] == EMPTY, np.float32(-np.inf), scores[:, :n])


def best_scores(scores: NDArray[np.float32], n: int) -> TopK:
    """Of rows of scores [m, c]; -inf and NaN are never among the best."""
    m, width = scores.shape
    best, kept = TopK.none(m, n), min(n, width)
    if not m or not kept:
        return best
    found, places = _faiss().kmax(scores, min(kept + 1, width))
    best.put(np.arange(m), found[:, :kept], places[:, :kept])
    if kept < width:
        tied = np.flatnonzero((found[:, kept - 1] == found[:, kept]) & (places[:, kept] != EMPTY))
        _resolve(scores, tied, found[tied, kept - 1], best)
    return best


def best_products(queries: NDArray[np.float32], vectors: NDArray[np.float32], n: int) -> TopK:
    """Of the products of queries [m, d] and vectors [c, d], all finite. Memory is m x n, not m x c.

    The same call gives the same on any number of threads; other queries in a block may round the last digit.
    """
    blocks = [queries[start : start + _BLOCK] for start in range(0, len(queries), _BLOCK)]
    found = parallel_map(lambda block: _best_products(block, vectors, n), blocks)
    return TopK(*map(np.concatenate, zip(*found, strict=True))) if found else TopK.none(0, n)


def _best_products(queries: NDArray[np.float32], vectors: NDArray[np.float32], n: int) -> TopK:
    best, kept = TopK.none(len(queries), n), min(n, len(vectors))
    library, open_rows, width = _faiss(), np.arange(len(queries)), kept + 1
    while len(open_rows) and kept:
        width = min(width, len(vectors))
        found, places = library.knn(queries[open_rows], vectors, width, library.METRIC_INNER_PRODUCT)
        sure = (found[:, kept - 1] > found[:, -1]) | (width == len(vectors))
        best.put(open_rows[sure], found[sure], places[sure])
        open_rows, width = open_rows[~sure], width * _GROWTH
    return best


def products(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], rows: NDArray[np.integer[Any]], places: Any
) -> NDArray[np.float32]:
    """[p] the products of pairs: of queries [m, d] at `rows` and vectors [c, d] at `places`; -inf of a row of -1."""
    library = _faiss()
    queries, vectors = (np.ascontiguousarray(array, dtype=np.float32) for array in (queries, vectors))
    of, to = (np.ascontiguousarray(at, dtype=np.int64) for at in (rows, places))
    found = np.full(len(of), -np.inf, dtype=np.float32)
    x, ix, y, iy, out = (library.swig_ptr(array) for array in (queries, of, vectors, to, found))
    library.pairwise_indexed_inner_product(vectors.shape[1], len(of), x, ix, y, iy, out)
    return found


def _resolve(scores: NDArray[np.float32], tied: NDArray[np.int64], least: NDArray[np.float32], best: TopK) -> None:
    """Fill the rows `tied` anew with all that scores `least` or more, as many as there is room for."""
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
    """The same rows, of equal scores the first place first."""
    tied = np.flatnonzero((scores[:, 1:] == scores[:, :-1]).any(axis=1))
    if len(tied):
        order = np.lexsort((places[tied], -scores[tied]), axis=1)
        scores[tied] = np.take_along_axis(scores[tied], order, axis=1)
        places[tied] = np.take_along_axis(places[tied], order, axis=1)
    return scores, places


@cache
def _faiss() -> Any:
    """The library, which takes its time to open."""
    import faiss

    # Few queries are worked on the same way as many.
    faiss.cvar.distance_compute_blas_query_bs = _BLOCK
    faiss.cvar.distance_compute_blas_threshold = 0
    # What may be among the best is put aside and sorted out now and then, from the first: faster than heaps are.
    faiss.cvar.distance_compute_min_k_reservoir = 1
    return faiss
