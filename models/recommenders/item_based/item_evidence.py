"""Which items go with which, derived from what a champion has learned: shared buyers, words of titles, and factors."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.primitives.state import entries, stored_columns
from models.recommenders.explanations.evidence import unit
from models.recommenders.explanations.sentences import TOGETHER
from models.recommenders.protocols import Recommender

_SHRINKAGE: Final = 10.0
"""Buyers added to observed and expected counts, as `BoughtTogether` adds baskets."""
_BUYERS: Final = 300
"""Buyers of an item that are counted: more change the lift little, and reading them takes long."""
_REMEMBERED: Final = 1024
"""Items whose lifts are remembered, some 75 kB each: visitors look at the same items, and name them again."""


class Together(NamedTuple):
    """The items that the buyers of an item bought too, more often than by chance."""

    items: NDArray[np.int32]
    """Positions, ascending."""
    logarithms: NDArray[np.float32]
    """Of their lifts, above 0."""


@dataclass(frozen=True, eq=False)
class ItemEvidence:
    """Evidence of a model's items about each other; each part is None if the model has nothing to derive it from."""

    history: Any
    """CSR, users x items: what each user bought."""
    words: Any
    """CSR, items x words, with rows of length 1 or empty rows."""
    vectors: NDArray[np.float32] | None
    """[n_items, d] factors."""

    @classmethod
    def of(cls, model: Recommender) -> Self:
        """Return what a model of any kind offers; two-stage models also offer what their retrievers learned."""
        parts = [model, *getattr(getattr(model, "candidates", None), "retrievers", {}).values()]
        histories = [_history(part) for part in (getattr(model, "candidates", None), *parts)]
        words = [part.vectors for part in parts if sparse.issparse(getattr(part, "vectors", None))]
        factors = [getattr(part, "item_factors", None) for part in parts]
        return cls(
            next((one for one in histories if one is not None), None),
            next(iter(words), None),
            next((one for one in factors if one is not None), None),
        )

    def lifts(self, items: NDArray[np.int32]) -> NDArray[np.float32] | None:
        """Return [m, n_items] how much more often than by chance the same users bought both; 1 for few such users.

        That is (users of both + s) / (expected users of both + s), with shrinkage s.
        """
        if self.history is None:
            return None
        lifts = np.ones((len(items), self.history.shape[1]), dtype=np.float32)
        for row, item in enumerate(items.tolist()):
            others, found = self._lifts_of(item)
            lifts[row, others] = found
        return lifts

    def _lifts_of(self, item: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the items that enough of the counted buyers bought too, ascending, and their lifts."""
        buyers = self._buyers.indices[self._buyers.indptr[item] : self._buyers.indptr[item + 1]]
        if len(buyers) > _BUYERS:
            buyers = buyers[np.linspace(0, len(buyers) - 1, _BUYERS).astype(np.int64)]
        counted = np.bincount(stored_columns(self.history, buyers), minlength=self.history.shape[1])
        counted[item] = 0
        others = np.flatnonzero(counted >= TOGETHER)
        expected = self._popularity[others] * np.float32(len(buyers) / max(1, self.history.shape[0]))
        observed = counted[others].astype(np.float32)
        return others, np.maximum((observed + np.float32(_SHRINKAGE)) / (expected + np.float32(_SHRINKAGE)), 1)

    def cosines(self, items: NDArray[np.int32]) -> NDArray[np.float32] | None:
        """Return [m, n_items] cosines of words, or of factors for models without words; 0 without evidence."""
        if self.words is not None:
            cosines: NDArray[np.float32] = np.empty((len(items), self.words.shape[0]), dtype=np.float32)
            for row, item in enumerate(items.tolist()):
                own = slice(self.words.indptr[item], self.words.indptr[item + 1])
                cosines[row] = self._products(self.words.indices[own], self.words.data[own])
        elif self._units is not None:
            cosines = self._units[items] @ self._units.T
        else:
            return None
        cosines[np.arange(len(items)), items] = 0
        return np.maximum(cosines, 0, out=cosines)

    def cosines_between(self, items: NDArray[np.int32], others: NDArray[Any]) -> NDArray[np.float32] | None:
        """Return [m, c] the same cosines with some items only."""
        if self.words is not None:
            cosines: Any = (self.words[items] @ self.words[others].T).toarray()
        elif self._units is not None:
            cosines = self._units[items] @ self._units[others].T
        else:
            return None
        cosines[items[:, None] == others] = 0
        positive: NDArray[np.float32] = np.maximum(cosines, 0, dtype=np.float32)
        return positive

    def summed_cosines(self, items: NDArray[np.int32], weights: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return [n_items] the sum of the same cosines over different items, with weights [m]."""
        if self.words is None:
            cosines = self.cosines(items)
            return None if cosines is None else weights @ cosines
        own = entries(self.words.indptr, items)
        # Most words are those of several items, and the frequent ones take most of the time.
        words, place = np.unique(self.words.indices[own.at], return_inverse=True)
        summed = np.bincount(place, self.words.data[own.at] * weights[own.row])
        totals = self._products(words, summed).astype(np.float32)
        of_own: Any = self.cosines_between(items, items)
        totals[items] = weights @ of_own  # none with itself
        return totals

    def _products(self, words: NDArray[np.int32], weights: NDArray[Any]) -> NDArray[np.float64]:
        """Return [n_items] the products of the weights of some words with those of all items that share any."""
        by_word, products = self._by_word, np.zeros(self.words.shape[0])
        # Word by word: an index of all entries at once would take longer.
        for word, weight in zip(words.tolist(), weights, strict=True):
            others = slice(by_word.indptr[word], by_word.indptr[word + 1])
            products[by_word.indices[others]] += by_word.data[others] * weight
        return products

    def together(self, item: int) -> Together | None:
        """Return the logarithms of an item's lifts above 1; None without purchases."""
        return None if self.history is None else self._remembered(item)

    @cached_property
    def _remembered(self) -> Callable[[int], Together]:
        return lru_cache(_REMEMBERED)(self._together)

    def _together(self, item: int) -> Together:
        others, lifts = self._lifts_of(item)
        higher = np.flatnonzero(lifts > 1)
        return Together(others[higher].astype(np.int32), np.log(lifts[higher]))

    def warm(self) -> None:
        """Prepare what is derived on first use."""
        some = np.zeros(1, dtype=np.int32)
        self.lifts(some)
        self.cosines(some)

    @cached_property
    def _buyers(self) -> Any:
        """CSR, items x users."""
        return sparse.csr_array(self.history.T)

    @cached_property
    def _by_word(self) -> Any:
        """CSR, words x items."""
        return sparse.csr_array(self.words.T)

    @cached_property
    def _popularity(self) -> NDArray[np.float32]:
        """[n_items] users who bought the item."""
        counts: NDArray[np.float32] = np.diff(self._buyers.indptr).astype(np.float32)
        return counts

    @cached_property
    def _units(self) -> NDArray[np.float32] | None:
        if self.vectors is None:
            return None
        return np.nan_to_num(unit(self.vectors), posinf=0, neginf=0)


def _history(model: Any) -> Any:
    """Return what each user of a model bought, as CSR; None for models that hold no purchases."""
    for name in ("history", "baskets", "own"):
        part = getattr(model, name, None)
        if sparse.issparse(part):
            return sparse.csr_array(part)
    holder = getattr(model, "own", model)
    if not hasattr(holder, "indptr") or not hasattr(holder, "item"):
        return None
    bought = np.ones(len(holder.item), dtype=bool)
    return sparse.csr_array((bought, holder.item, holder.indptr), shape=(len(holder.users), len(holder.items)))
