"""Vectors for the values of a column with many of them: learned from what occurs together, or a model's factors."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

_SEED_LIMIT: Final = 2**32
_NEGLIGIBLE: Final = 1e-6
"""Singular values that are nothing but rounding, by the largest one."""


@dataclass(frozen=True)
class Embedding:
    """One vector for each value of a column."""

    values: NDArray[np.str_]
    vectors: NDArray[np.float32]
    """[n_values, size]"""


@dataclass(frozen=True)
class CoOccurrence:
    """How often each value of a column was seen in each context, such as a brand in a user's baskets."""

    values: NDArray[np.str_]
    counts: Any
    """CSR, values x contexts."""


def co_occurrence(values: Any, contexts: Any) -> CoOccurrence:
    """Count pairs of two equally long Arrow columns of words, rows of the training part alone; nulls are left out."""
    (names, row), (others, column) = vocabulary(values), vocabulary(contexts)
    known = (row >= 0) & (column >= 0)
    shape = (len(names), len(others))
    counts = sparse.csr_array((np.ones(int(known.sum())), (row[known], column[known])), shape=shape)
    return CoOccurrence(names, counts)


def learned(seen: CoOccurrence, size: int, seed: int) -> Embedding | None:
    """Values that occur in like contexts get like vectors; None where there is nothing to learn.

    Truncated SVD of the positive pointwise mutual information, singular values at the power of a half
    (Levy, Goldberg and Dagan 2015). A value seen nowhere is left out, and vectors are shorter than `size` where there
    are fewer directions.
    """
    information = _positive_information(sparse.csr_array(seen.counts, dtype=np.float64))
    told = np.flatnonzero(np.diff(information.indptr))
    information = information[told]
    size = min(size, *(side - 1 for side in information.shape))
    if size < 1:
        return None
    from sklearn.decomposition import TruncatedSVD

    # The randomised algorithm takes ten times as long with a million contexts.
    svd = TruncatedSVD(size, algorithm="arpack", random_state=seed % _SEED_LIMIT)
    scores = svd.fit_transform(information)
    strength = svd.singular_values_
    told_apart = strength > _NEGLIGIBLE * strength.max()
    vectors = scores[:, told_apart] / np.sqrt(strength[told_apart])
    return Embedding(seen.values[told], vectors.astype(np.float32))


def vocabulary(values: Any) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """The distinct words of an Arrow column, sorted, and each row's place among them; -1 for null."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    coded = whole.cast(pa.large_string()).dictionary_encode()
    names, place = np.unique(np.array(coded.dictionary.to_pylist(), dtype=np.str_), return_inverse=True)
    rank = np.append(place, -1)  # the last entry is where code -1 points
    codes: NDArray[np.int64] = rank[np.asarray(pc.fill_null(coded.indices, -1))].astype(np.int64)
    return names, codes


def _positive_information(counts: Any) -> Any:
    """max(0, log(p(value, context) / (p(value) p(context)))) of the seen pairs, as CSR without zeros."""
    pairs = counts.tocoo()
    by_value, by_context = counts.sum(axis=1), counts.sum(axis=0)
    expected = by_value[pairs.row] * by_context[pairs.col] / max(counts.sum(), 1.0)
    kept = (pairs.data > expected) & (expected > 0)
    information = np.log(pairs.data[kept] / expected[kept])
    return sparse.csr_array((information, (pairs.row[kept], pairs.col[kept])), shape=counts.shape)
