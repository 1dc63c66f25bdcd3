"""The attributes of items that rules refer to, as arrays."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR
from models.lists.rules.rule_config import Rules, Selector

NEARLY_ALL = 0.9
"""A category with a larger share of the items is not capped: the cap would cut every list short."""
NO_GROUP = -1
"""The group of items without a category, or without a brand."""
_BRANDS = 0


@dataclass(frozen=True, eq=False)
class ItemAttributes:
    """The known attributes of n items."""

    items: NDArray[np.str_]
    """[n] ids, sorted."""
    category: NDArray[np.str_]
    """[n] paths, the most general level first; empty if unknown."""
    brand: NDArray[np.str_]
    """[n] empty if unknown."""
    price: NDArray[np.float64]
    """[n] NaN if unknown."""
    age_days: NDArray[np.float64]
    """[n] days since the item was first seen; NaN if unknown."""
    available: NDArray[np.bool_]
    """[n]"""
    _groups: dict[int, NDArray[np.int32]] = field(default_factory=dict, repr=False)
    """The numbers of categories by depth, and those of brands at 0: they take long, and do not depend on stock."""
    _distinct_paths: list[tuple[list[str], NDArray[np.int32]]] = field(default_factory=list, repr=False)
    """Empty, or what `_paths` returns."""

    def allowed(self, rules: Rules) -> NDArray[np.bool_]:
        """Return [n] which items lists under these rules may hold."""
        allowed = self.available.copy()
        if rules.include is not None:
            allowed &= self.selected(rules.include)
        if rules.exclude is not None:
            allowed &= ~self.selected(rules.exclude)
        if rules.exclude_items:
            allowed &= ~np.isin(self.items, rules.exclude_items)
        if rules.lifetime_days is not None:
            allowed &= ~(self.age_days > rules.lifetime_days)
        return allowed

    def selected(self, selector: Selector) -> NDArray[np.bool_]:
        """Return [n] which items a rule selects."""
        selected = np.ones(len(self.items), dtype=bool)
        if selector.items is not None:
            selected &= np.isin(self.items, selector.items)
        if selector.brand is not None:
            selected &= np.isin(self.brand, selector.brand)
        if selector.category is not None:
            selected &= np.logical_or.reduce([self.below(path) for path in selector.category])
        if selector.price is not None:
            low, high = selector.price
            # Comparisons with NaN are false, so that an unknown price is never within bounds.
            selected &= self.price >= (-np.inf if low is None else low)
            selected &= self.price <= (np.inf if high is None else high)
        return selected

    def below(self, path: str) -> NDArray[np.bool_]:
        """Return [n] which items have this category, or one below it."""
        paths, number = self._paths()
        below = [known == path or known.startswith(path + CATEGORY_SEPARATOR) for known in paths]
        return np.array(below, dtype=bool)[number]

    def categories(self, levels: int) -> NDArray[np.int32]:
        """Return [n] a number per item, equal if the first `levels` of the paths are equal.

        It is NO_GROUP without a path, and for the items of a category that has `NEARLY_ALL`.
        """
        known = self._groups.get(levels)
        if known is None:
            known = self._groups[levels] = self._numbered_categories(levels)
        return known

    def _paths(self) -> tuple[list[str], NDArray[np.int32]]:
        """Return the paths of all items, each once, and [n] the position of each item's."""
        if not self._distinct_paths:
            paths: list[str] = self.category.tolist()
            place = {path: number for number, path in enumerate(dict.fromkeys(paths))}
            self._distinct_paths.append((list(place), np.array([place[path] for path in paths], dtype=np.int32)))
        return self._distinct_paths[0]

    def _numbered_categories(self, levels: int) -> NDArray[np.int32]:
        paths, number = self._paths()
        cut = [CATEGORY_SEPARATOR.join(path.split(CATEGORY_SEPARATOR)[:levels]) for path in paths]
        group = _groups(np.array(cut, dtype=np.str_))[number]
        large = np.flatnonzero(np.bincount(group[group >= 0]) > NEARLY_ALL * len(group))
        return np.where(np.isin(group, large), NO_GROUP, group).astype(np.int32)

    def brands(self) -> NDArray[np.int32]:
        """Return [n] a number per item, equal for items of one brand; NO_GROUP without a brand."""
        known = self._groups.get(_BRANDS)
        if known is None:
            known = self._groups[_BRANDS] = _groups(self.brand)
        return known


def _groups(words: NDArray[np.str_]) -> NDArray[np.int32]:
    group = np.unique(words, return_inverse=True)[1].reshape(words.shape)
    return np.where(words == "", NO_GROUP, group).astype(np.int32)
