"""What rules look at of a catalogue: item by item, as arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR
from models.lists.rules.item_selector import Selector
from models.lists.rules.rule_config import Rules

NEARLY_ALL = 0.9
"""A category of more of the items is none to cap by: it would cut every list short."""
NO_GROUP = -1
"""The group of what has no category, or no brand."""


@dataclass(frozen=True, eq=False)
class ItemAttributes:
    """n items, each with what is known of it."""

    items: NDArray[np.str_]
    """[n] ids, sorted."""
    category: NDArray[np.str_]
    """[n] paths, the most general level first; empty where unknown."""
    brand: NDArray[np.str_]
    """[n] empty where unknown."""
    price: NDArray[np.float64]
    """[n] NaN where unknown."""
    age_days: NDArray[np.float64]
    """[n] days since the item was first seen; NaN where unknown."""
    available: NDArray[np.bool_]
    """[n]"""

    def allowed(self, rules: Rules) -> NDArray[np.bool_]:
        """[n] which items lists under these rules may hold."""
        allowed = self.available.copy()
        if rules.include is not None:
            allowed &= self.selected(rules.include)
        if rules.exclude is not None:
            allowed &= ~self.selected(rules.exclude)
        if rules.lifetime_days is not None:
            allowed &= ~(self.age_days > rules.lifetime_days)
        return allowed

    def selected(self, selector: Selector) -> NDArray[np.bool_]:
        """[n] which items a rule means."""
        found = np.ones(len(self.items), dtype=bool)
        if selector.items is not None:
            found &= np.isin(self.items, selector.items)
        if selector.brand is not None:
            found &= np.isin(self.brand, selector.brand)
        if selector.category is not None:
            found &= np.logical_or.reduce([self.below(path) for path in selector.category])
        if selector.price is not None:
            low, high = selector.price
            # Comparisons with NaN are false, so that an unknown price is never between two.
            found &= self.price >= (-np.inf if low is None else low)
            found &= self.price <= (np.inf if high is None else high)
        return found

    def below(self, path: str) -> NDArray[np.bool_]:
        """[n] whose category is this one, or lies in it."""
        inside = np.strings.startswith(self.category, path + CATEGORY_SEPARATOR)
        found: NDArray[np.bool_] = inside | (self.category == path)
        return found

    def categories(self, levels: int) -> NDArray[np.int32]:
        """[n] the same number for items whose paths begin with the same so many levels.

        It is NO_GROUP without a path, and for the items of a category that has `NEARLY_ALL`.
        """
        paths = [CATEGORY_SEPARATOR.join(path.split(CATEGORY_SEPARATOR)[:levels]) for path in self.category.tolist()]
        group = _groups(np.array(paths, dtype=np.str_))
        large = np.flatnonzero(np.bincount(group[group >= 0]) > NEARLY_ALL * len(group))
        return np.where(np.isin(group, large), NO_GROUP, group).astype(np.int32)

    def brands(self) -> NDArray[np.int32]:
        """[n] the same number for items of one brand; NO_GROUP without a brand."""
        return _groups(self.brand)


def _groups(words: NDArray[np.str_]) -> NDArray[np.int32]:
    group = np.unique(words, return_inverse=True)[1].reshape(words.shape)
    return np.where(words == "", NO_GROUP, group).astype(np.int32)
