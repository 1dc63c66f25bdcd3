"""Finds items that are in the same baskets more often than by chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.recommenders.explanations.sentences import TOGETHER
from models.recommenders.item_based.cooccurrence import blocks, strongest, without_self

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

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
    by_item: Any
    """Boolean CSR, items x baskets."""

    @classmethod
    def fit(
        cls,
        data: "TrainingData",
        shrinkage: float = _SHRINKAGE,
        neighbours: int = _NEIGHBOURS,
        evidence: int = TOGETHER,
    ) -> Self:
        """Count the baskets of every pair, a block of items at a time; huge baskets are truncated.

        Pairs of fewer than `evidence` baskets are left out.
        """
        once = np.ones(len(data.item), dtype=np.float32)
        shape = (int(data.basket.max(initial=-1)) + 1, len(data.items))
        whole = sparse.csr_array((once, (data.basket, data.item)), shape=shape)
        held = strongest(whole, _BASKET)
        by_item, total = sparse.csr_array(held.T), shape[0]
        single = np.diff(by_item.indptr).astype(np.float32)
        blocks_of_lift = []
        for start, counted in blocks(by_item, held):
            row = np.repeat(np.arange(start, start + counted.shape[0]), np.diff(counted.indptr))
            expected = single[row] * single[counted.indices] / np.float32(max(1, total))
            lift = (counted.data + shrinkage) / (expected + shrinkage)
            counted.data = np.where((lift > 1) & (counted.data >= evidence), lift, np.float32(0))
            blocks_of_lift.append(strongest(without_self(counted, start), neighbours))
        lifts = sparse.csr_array(sparse.vstack(blocks_of_lift, format="csr"), dtype=np.float32)
        return cls(data.items, lifts, sparse.csr_array(whole.T, dtype=bool))

    def baskets(
        self, subjects: NDArray[np.int64], items: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return, for n pairs, [n] baskets with both and [n] with the first item, counting whole baskets."""
        held = np.diff(self.by_item.indptr).astype(np.int64)
        block = np.cumsum(held[subjects] + held[items]) // _COMPARED
        both = [np.empty(0, dtype=np.int64)]
        for part in np.split(np.arange(len(items)), np.flatnonzero(np.diff(block)) + 1):
            shared = self.by_item[subjects[part]].multiply(self.by_item[items[part]])
            both.append(np.asarray(shared.astype(np.int64).sum(axis=1)).ravel())
        return np.concatenate(both), held[subjects]


_COMPARED: Final = 20_000_000
"""Baskets of both items of pairs that are compared at once, at 5 bytes each."""
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

    A list has the lift of each of its items; an item that it lacks has a lift of 1.
    """
    names = np.array(sorted({name for lifts in lists for name in lifts}), dtype=np.str_)
    lifts = np.array([[own.get(name, 1.0) for name in names.tolist()] for own in lists], dtype=np.float32)
    return names, with_basket(lifts.reshape(len(lists), len(names)))


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
    ranks: NDArray[np.float64] = (before[place] + 1).astype(np.float64)
    return ranks
