"""Represent the values of a column as vectors, learned from co-occurrence or taken from a model's factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.primitives.arrow import pa, pc

if TYPE_CHECKING:
    from models.primitives.arrow_types import ArrowColumn

_SEED_LIMIT: Final = 2**32
_NEGLIGIBLE: Final = 1e-6
"""Singular values below this share of the largest one are rounding errors."""


@dataclass(frozen=True)
class Embedding:
    """One vector for each value of a column."""

    values: NDArray[np.str_]
    vectors: NDArray[np.float32]
    """[n_values, size]"""


@dataclass(frozen=True)
class CoOccurrence:
    """How often each value of a column occurs in each context, such as a brand in a user's baskets."""

    values: NDArray[np.str_]
    counts: sparse.csr_array
    """CSR, values x contexts."""


def co_occurrence(values: ArrowColumn, contexts: ArrowColumn) -> CoOccurrence:
    """Count pairs of two equally long Arrow columns of words, from training rows only; nulls are left out."""
    (names, row), (others, column) = vocabulary(values), vocabulary(contexts)
    known = (row >= 0) & (column >= 0)
    shape = (len(names), len(others))
    counts = sparse.csr_array((np.ones(int(known.sum())), (row[known], column[known])), shape=shape)
    return CoOccurrence(names, counts)


def learned(counted: CoOccurrence, size: int, seed: int) -> Embedding | None:
    """Return similar vectors for values in similar contexts; None if there is nothing to learn from.

    Truncated SVD of the positive pointwise mutual information, singular values at the power of a half
    (Levy, Goldberg and Dagan 2015). A value without contexts is left out. Vectors are shorter than `size` if there
    are fewer directions.
    """
    information = _positive_information(sparse.csr_array(counted.counts, dtype=np.float64))
    informative = np.flatnonzero(np.diff(information.indptr))
    information = information[informative]
    size = min(size, *(side - 1 for side in information.shape))
    if size < 1:
        return None
    from sklearn.decomposition import TruncatedSVD

    # The randomised algorithm takes ten times as long with a million contexts.
    svd = TruncatedSVD(size, algorithm="arpack", random_state=seed % _SEED_LIMIT)
    scores = svd.fit_transform(information)
    strength = svd.singular_values_
    significant = strength > _NEGLIGIBLE * strength.max()
    vectors = scores[:, significant] / np.sqrt(strength[significant])
    return Embedding(counted.values[informative], vectors.astype(np.float32))


def vocabulary(values: ArrowColumn) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Return the distinct words of an Arrow column, sorted, and the position of each row's word; -1 for null."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    coded = whole.cast(pa.large_string()).dictionary_encode()
    names, place = np.unique(np.array(coded.dictionary.to_pylist(), dtype=np.str_), return_inverse=True)
    rank = np.append(place, -1)  # code -1 selects the last entry
    codes: NDArray[np.int64] = rank[np.asarray(pc.fill_null(coded.indices, -1))].astype(np.int64)
    return names, codes


def _positive_information(counts: sparse.csr_array) -> sparse.csr_array:
    """Return max(0, log(p(value, context) / (p(value) p(context)))) of the observed pairs, as CSR without zeros."""
    pairs = counts.tocoo()
    by_value, by_context = counts.sum(axis=1), counts.sum(axis=0)
    expected = by_value[pairs.row] * by_context[pairs.col] / max(counts.sum(), 1.0)
    positive = (pairs.data > expected) & (expected > 0)
    information = np.log(pairs.data[positive] / expected[positive])
    return sparse.csr_array((information, (pairs.row[positive], pairs.col[positive])), shape=counts.shape)
