"""Reasons that name categories: what a shopper understands of a model of factors or of likeness."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.cold_start import Extended
from models.columns import CATEGORY
from models.favourites import favourites, most_bought, named_categories
from models.recommender import State
from models.training_data import TrainingData

UNNAMED: Final = "Liked by shoppers like you"
"""What is said where no category or item can be named."""

LOOKED_AT: Final = "looked at"
"""What is said of clicks, and is true of purchases too."""

NONE: Final = -1
"""Stands for no category."""

_BLOCK: Final = 4096


@dataclass(frozen=True)
class CategoryReasons:
    """What each user buys, in categories, and, for models with factors, in which direction a category lies."""

    categories: NDArray[np.str_]
    """[n_categories] their names."""
    item_category: NDArray[np.int32]
    """[n_items] position of each item's category; -1 without one."""
    favourites: NDArray[np.int32]
    """[n_users, kept] each user's categories, the most bought first; -1 where there are fewer."""
    category_factors: NDArray[np.float32] | None = None
    """[n_categories, components] unit vectors: the direction of a category's items."""
    verb: str = "buy"
    """What the users did with their categories."""

    @classmethod
    def fit(cls, data: TrainingData, item_factors: NDArray[np.float32] | None = None) -> Self:
        """Count the users' categories; with factors also find the direction of each."""
        categories, item_category = named_categories(data.item_categories)
        directions = None if item_factors is None else _directions(item_factors, item_category, len(categories))
        return cls(categories, item_category, favourites(data, item_category), directions)

    def told(
        self,
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        otherwise: str,
        item_factors: NDArray[np.float32] | None = None,
    ) -> list[str]:
        """One sentence per pair: the item's category if the user buys it, else (given factors) the nearest one.

        `otherwise` is said where neither is known, as of strangers (a user of -1).
        """
        codes, texts = self.coded(users, items, otherwise, item_factors)
        return [texts[code] for code in codes.tolist()]

    def coded(
        self,
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        otherwise: str,
        item_factors: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.int32], list[str]]:
        """The same as positions among the sentences, and the sentences: two a category, and `otherwise`."""
        theirs = np.full((len(users), self.favourites.shape[1]), NONE, dtype=np.int32)
        theirs[users >= 0] = self.favourites[users[users >= 0]]
        own = self.item_category[items]
        known = (theirs == own[:, None]).any(axis=1) & (own != NONE)
        n, names = len(self.categories), self.categories.tolist()
        codes = np.where(known, own, 2 * n).astype(np.int32)
        others = np.flatnonzero(~known)
        nearest = self._nearest(theirs[others], items[others], item_factors)
        codes[others[nearest != NONE]] = n + nearest[nearest != NONE]
        bought = [f"Because you {self.verb} {name}" for name in names]
        return codes, [*bought, *(f"Goes with the {name} you {self.verb}" for name in names), otherwise]

    def _nearest(
        self, theirs: NDArray[np.int32], items: NDArray[np.int32], item_factors: NDArray[np.float32] | None
    ) -> NDArray[np.int32]:
        nearest = np.full(len(items), NONE, dtype=np.int32)
        if item_factors is None or self.category_factors is None or not len(self.categories):
            return nearest
        for start in range(0, len(items), _BLOCK):
            part = slice(start, start + _BLOCK)
            closeness = item_factors[items[part]] @ self.category_factors.T
            offered = np.take_along_axis(closeness, np.maximum(theirs[part], 0), axis=1)
            offered[theirs[part] == NONE] = -np.inf
            best = offered.argmax(axis=1)[:, None]
            nearest[part] = np.take_along_axis(theirs[part], best, axis=1)[:, 0]
        return nearest

    def for_users(self, events: Any, verb: str) -> Self:
        """The same of other users: `events` is CSR, users x items, of what they did (`verb`) with the items."""
        taken = sparse.coo_array(events)
        return replace(
            self, favourites=most_bought(taken.row, self.item_category[taken.col], events.shape[0]), verb=verb
        )

    def for_items(self, longer: Extended) -> Self:
        """The same of a longer catalogue.

        Categories of new items alone come after the others, and have no direction: nobody buys them yet.
        """
        names, position = named_categories(longer.words(CATEGORY))
        new = names[~np.isin(names, self.categories)]
        categories = np.concatenate([self.categories, new])
        order = np.argsort(categories)
        # The extra place is where an item without a category points.
        place = np.append(order[np.searchsorted(categories, names, sorter=order)], NONE).astype(np.int32)
        factors = self.category_factors
        if factors is not None:
            factors = np.concatenate([factors, np.zeros((len(new), factors.shape[1]), dtype=np.float32)])
        item_category = longer.joined(self.item_category, place[position])
        return replace(self, categories=categories, item_category=item_category, category_factors=factors)

    def state(self) -> State:
        """Its arrays."""
        arrays = {"categories": self.categories, "item_category": self.item_category, "favourites": self.favourites}
        return arrays if self.category_factors is None else arrays | {"category_factors": self.category_factors}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """What gave this state; entries of other names are left alone."""
        return cls(state["categories"], state["item_category"], state["favourites"], state.get("category_factors"))


def _directions(factors: NDArray[np.float32], category: NDArray[np.int32], n_categories: int) -> NDArray[np.float32]:
    named = np.flatnonzero(category != NONE)
    members = sparse.csr_array(
        (np.ones(len(named), dtype=np.float32), (category[named], named)), shape=(n_categories, len(factors))
    )
    return unit(members @ factors)


def unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The rows at length 1; those of length 0 stay as they are."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float32)
    return scaled
