"""The factors of a layer's boosts by what they are about: an item's factor takes a few look-ups, not all boosts."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, Self

from models.columns import CATEGORY_SEPARATOR


class Boosted(Protocol):
    """A factor on the scores of an item, a category or a brand."""

    @property
    def kind(self) -> str: ...

    @property
    def value(self) -> str: ...

    @property
    def factor(self) -> float: ...


@dataclass(frozen=True, slots=True)
class BoostFactors:
    """Factors by item, by path of the category, and by brand."""

    items: dict[str, float] = field(default_factory=dict)
    categories: dict[str, float] = field(default_factory=dict)
    brands: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, boosts: Iterable[Boosted]) -> Self:
        """Return the factors of boosts; those about the same thing are multiplied."""
        made = cls()
        by_kind = {"item": made.items, "category": made.categories, "brand": made.brands}
        for boost in boosts:
            factors = by_kind[boost.kind]
            factors[boost.value] = factors.get(boost.value, 1.0) * boost.factor
        return made

    def factor(self, item_id: str, category: str, brand: str) -> float:
        """Return the factor of an item. A category's factor counts for all categories below it."""
        found = self.items.get(item_id, 1.0) * self.brands.get(brand, 1.0)
        if self.categories:
            end = len(category)
            while end >= 0:
                found *= self.categories.get(category[:end], 1.0)
                end = category.rfind(CATEGORY_SEPARATOR, 0, end)
        return found
