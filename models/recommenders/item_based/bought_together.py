"""Finds items that are in the same baskets more often than by chance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.primitives.time import DAY
from models.recommenders.explanations.sentences import NEAR_DAYS, NEAR_ORDERS, TOGETHER

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


_SHRINKAGE: Final = 10.0
"""Baskets added to observed and expected counts, so that a few common baskets are no evidence."""
_NEIGHBOURS: Final = 200
"""Kept per item."""


@dataclass(frozen=True)
class BoughtTogether:
    """The lift of pairs: (baskets with both + s) / (baskets expected with both + s), with shrinkage s.

    That is the posterior mean of a Poisson rate under a gamma prior of mean 1 (DuMouchel 1999): rare pairs stay close
    to 1. Plain counts favour popular items, and plain lift favours pairs bought once.
    """

    items: NDArray[np.str_]
    lift: Any
    """float32 CSR [n_items, n_items]: above 1, and the strongest of each item only."""

    @classmethod
    def fit(
        cls,
        data: "TrainingData",
        shrinkage: float = _SHRINKAGE,
        neighbours: int = _NEIGHBOURS,
        evidence: int = TOGETHER,
        near: Any = None,
        baskets: int = 0,
    ) -> Self:
        """Count the baskets of every pair, a block of items at a time; huge baskets are truncated.

        Pairs of fewer than `evidence` baskets are left out. With `near` (boolean CSR, baskets x baskets), the second
        item of a pair is in a basket near that of the first one. `baskets` counts also those without any of the items.
        """
        once = np.ones(len(data.item), dtype=bool)
        shape = (max(baskets, int(data.basket.max(initial=-1)) + 1), len(data.items))
        whole = sparse.csr_array((once, (data.basket, data.item)), shape=shape)
        held = strongest(whole.astype(np.float32), _BASKET)
        others = held if near is None else strongest((near @ whole).astype(np.float32), _BASKET)
        by_item, total = sparse.csr_array(held.T), shape[0]
        single = np.diff(by_item.indptr).astype(np.float32)
        other = np.bincount(others.indices, minlength=shape[1]).astype(np.float32)
        blocks_of_lift = [sparse.csr_array((0, shape[1]), dtype=np.float32)]
        for start, counted in blocks(by_item, others):
            row = np.repeat(np.arange(start, start + counted.shape[0]), np.diff(counted.indptr))
            expected = single[row] * other[counted.indices] / np.float32(max(1, total))
            lift = (counted.data + shrinkage) / (expected + shrinkage)
            counted.data = np.where((lift > 1) & (counted.data >= evidence), lift, np.float32(0))
            blocks_of_lift.append(strongest(without_self(counted, start), neighbours))
        lifts = sparse.csr_array(sparse.vstack(blocks_of_lift, format="csr"), dtype=np.float32)
        return cls(data.items, lifts)


def near_orders(data: "TrainingData") -> Any:
    """Return boolean CSR, baskets x baskets: other ones of the same user, at most NEAR_ORDERS and NEAR_DAYS apart."""
    first = np.unique(data.basket, return_index=True)[1]
    user, at, n = data.user[first], np.maximum.reduceat(data.occurred_at, first), len(first)
    order = np.lexsort((at, user))
    pairs = [np.empty((2, 0), dtype=np.int64)]
    for early, late in ((order[:-lag], order[lag:]) for lag in range(1, NEAR_ORDERS + 1)):
        near = (user[early] == user[late]) & (at[late] - at[early] <= NEAR_DAYS * DAY)
        pairs += [np.stack([early[near], late[near]]), np.stack([late[near], early[near]])]
    where = np.concatenate(pairs, axis=1)
    return sparse.csr_array((np.ones(where.shape[1], dtype=bool), (where[0], where[1])), shape=(n, n))


_BASKET: Final = 300
"""Items of a basket that are counted as pairs: pairs grow with its square."""


def with_basket(lifts: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return [n] how well items go with a whole basket: the sum over its items of the logarithms of `lifts` [items, n].

    A lift is 1 if it is unknown. Each item of the basket is separate evidence, as in a naive Bayes classifier.
    """
    fit: NDArray[np.float64] = np.log(np.maximum(lifts, 1.0).astype(np.float64)).sum(axis=0)
    return fit


def fit_of_lists(lists: Sequence[Mapping[str, float]]) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Return the items on lists of what goes with each item of a basket, sorted, and [n] how well they go with all.

    A list has the lift of each of its items, or a score below 0 if weaker evidence filled the place. Items without
    lifts have the best of these scores, so that they come after all others.
    """
    names = np.array(sorted({name for lifts in lists for name in lifts}), dtype=np.str_)
    lifts = np.array([[own.get(name, -np.inf) for name in names.tolist()] for own in lists], dtype=np.float32)
    lifts = lifts.reshape(len(lists), len(names))
    return names, with_basket(lifts) + np.minimum(lifts.max(axis=0, initial=-np.inf), 0)


def for_user(fit: NDArray[np.float64], liked: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the order of n items by their fit and the user's own scores with equal weight.

    Both are ranked, and reciprocal ranks are added (Cormack, Clarke and Buettcher 2009): their scales do not matter.
    Items without a score of the user's model (-inf, NaN) come last in its ranking.
    """
    total = sum(
        1 / (RECIPROCAL + _ranks(values)) for values in (fit, np.nan_to_num(liked, nan=-np.inf, neginf=-np.inf))
    )
    return np.argsort(-np.asarray(total), kind="stable")


RECIPROCAL: Final = 60.0
"""What is added to a rank before its reciprocal is taken."""


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return 1 for the greatest value; equal values share the better rank."""
    different, place = np.unique(-values, return_inverse=True)
    before = np.concatenate([[0], np.cumsum(np.bincount(place, minlength=len(different)))[:-1]])
    return (before[place] + 1).astype(np.float64)
