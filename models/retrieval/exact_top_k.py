"""Exact top-k of each row: of scores in memory, and of products that are never in memory all at once.

The kernels are faiss's (Douze et al. 2024). Of equal scores they keep an arbitrary one; this module keeps the first.
"""

from functools import cache
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.primitives.threads import parallel_map
from models.primitives.vocabulary import NO_INDEX

_BLOCK: Final = 1024
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
    blocks = [queries[start : start + _BLOCK] for start in range(0, len(queries), _BLOCK)]
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
    faiss.cvar.distance_compute_blas_query_bs = _BLOCK
    faiss.cvar.distance_compute_blas_threshold = 0
    # A reservoir for any k, because it is faster than a heap.
    faiss.cvar.distance_compute_min_k_reservoir = 1
    return faiss
