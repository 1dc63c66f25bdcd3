"""Counts how often items occur together in users' histories, as sparse item-by-item matrices."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData


_PRODUCTS: Final = 20_000_000  # multiplications at once: their results take 12 bytes each
_SET_SIZE: Final = 300
# Items of a user that are counted as pairs, because pairs grow with its square: further items add little.


def in_order(
    data: "TrainingData", weight: NDArray[np.float32], window: int, lag_exponent: float, backward: float
) -> Any:
    """Return float32 CSR [n_items, n_items]: how often the column's item comes near, and after, the row's item.

    Two events of a user, `lag` places apart (at most `window`) in order of time, add weight / lag ** lag_exponent
    to (earlier, later), and `backward` times that to (later, earlier). In one basket both get the whole weight,
    because it has no order. `weight` [n] is that of the later event. Work and memory grow with n x window.
    Near pairs as in sequential rules (Ludewig & Jannach 2018), but in both directions.
    """
    order = np.lexsort((data.basket, data.occurred_at, data.user))
    user, item, basket, weight = data.user[order], data.item[order], data.basket[order], weight[order]
    shape = (len(data.items), len(data.items))
    total = sparse.csr_array(shape, dtype=np.float32)
    for lag in range(1, window + 1):
        early = np.flatnonzero(user[lag:] == user[:-lag])
        if not len(early):
            break
        late = early + lag
        together = basket[early] == basket[late]
        forth = np.where(together, 1, lag**-lag_exponent).astype(np.float32) * weight[late]
        back = np.where(together, 1, backward).astype(np.float32) * forth
        where = np.concatenate([item[early], item[late]]), np.concatenate([item[late], item[early]])
        total += sparse.csr_array((np.concatenate([forth, back]), where), shape=shape)
    return without_self(total)


def as_sets(weights: Any, neighbours: int, source: NDArray[np.float32], target: NDArray[np.float32]) -> Any:
    """Return float32 CSR [n_items, n_items]: source[a] (weightsᵀ weights)[a, b] target[b], `neighbours` per row.

    `weights` is CSR, users x items. Rows are computed in blocks, of which only the strongest neighbours are stored.
    """
    some = strongest(weights, _SET_SIZE)
    by_item = sparse.csr_array((some @ sparse.diags_array(source)).T)
    by_user = sparse.csr_array(some @ sparse.diags_array(target))
    parts = [strongest(without_self(part, start), neighbours) for start, part in blocks(by_item, by_user)]
    return sparse.vstack(parts, format="csr", dtype=np.float32)


def blocks(by_item: Any, by_set: Any) -> Iterator[tuple[int, Any]]:
    """Yield the product of two CSR matrices, items x sets and sets x items, in blocks of rows with their first row.

    A block takes a bounded number of multiplications.
    """
    work = np.concatenate([[0], np.cumsum(by_item.astype(bool) @ np.diff(by_set.indptr))])
    start = 0
    while start < by_item.shape[0]:
        end = max(start + 1, int(np.searchsorted(work, work[start] + _PRODUCTS, side="right")) - 1)
        yield start, sparse.csr_array(by_item[start:end] @ by_set)
        start = end


def without_self(matrix: Any, start: int = 0) -> Any:
    """Return rows start, start + 1, … without the entries of an item with itself, and without zeros."""
    row = np.repeat(np.arange(start, start + matrix.shape[0]), np.diff(matrix.indptr))
    matrix.data[row == matrix.indices] = 0
    matrix.eliminate_zeros()
    return matrix


def strongest(matrix: Any, n: int) -> Any:
    """Return the n greatest entries of each row of a CSR matrix."""
    length = np.diff(matrix.indptr)
    chosen = np.ones(matrix.nnz, dtype=bool)
    for row in np.flatnonzero(length > n):
        own = slice(matrix.indptr[row], matrix.indptr[row + 1])
        chosen[own][np.argpartition(matrix.data[own], length[row] - n)[: length[row] - n]] = False
    indptr = np.concatenate([[0], np.cumsum(np.minimum(length, n))])
    return sparse.csr_array((matrix.data[chosen], matrix.indices[chosen], indptr), shape=matrix.shape)
