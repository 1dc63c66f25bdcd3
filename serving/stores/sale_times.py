"""The times of sale of all items, as arrays: a look at each item takes as long as the rest of a refresh."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.primitives.distinct import distinct

if TYPE_CHECKING:
    from serving.stores.catalogue import Item

_NEVER: Final = (np.inf, -np.inf)


@dataclass(frozen=True, eq=False)
class SaleTimes:
    """From when until when each of n items can be bought, in epoch seconds."""

    begins: NDArray[np.float64]
    """[n] -inf without a beginning; inf for items that are no goods, or not in stock."""
    ends: NDArray[np.float64]

    @classmethod
    def of(cls, items: "Iterable[Item]") -> Self:
        """Return the times of these items."""
        times = [
            (item.available_from, item.available_until) if item.merchandise and item.in_stock is not False else _NEVER
            for item in items
        ]
        begins, ends = np.array(times, dtype=np.float64).reshape(-1, 2).T.copy()
        return cls(begins, ends)

    def sold_at(self, moment: float) -> NDArray[np.bool_]:
        """Return whether each item can be bought at a moment."""
        sold: NDArray[np.bool_] = (self.begins <= moment) & (moment < self.ends)
        return sold

    def differ(self, before: float, after: float) -> bool:
        """Return whether the sale of an item begins or ends between two moments."""
        first, last = np.searchsorted(self._dates, (before, after), side="right").tolist()
        return bool(first != last)

    @cached_property
    def _dates(self) -> NDArray[np.float64]:
        dates = np.concatenate([self.begins, self.ends])
        return distinct(dates[np.isfinite(dates)])
