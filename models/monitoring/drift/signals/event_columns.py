"""Events of a sample of users as columns of numbers, in order of time: what windows are cut from."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.columns import EVENT_TYPES, PURCHASE
from models.features.tables.session_features import ENGAGEMENT

Ints = NDArray[np.signedinteger[Any]]
Floats = NDArray[np.float64]

DAY: Final = 86_400
KIND: Final = {name: code for code, name in enumerate(EVENT_TYPES)}
BOUGHT: Final = KIND[PURCHASE]
SHOWN: Final = KIND["impression"]
CLICKED: Final = KIND["click"]
INTERACTIONS: Final = np.isin(EVENT_TYPES, [name for _, names in ENGAGEMENT for name in names])
"""By code, whether an event says that somebody cared for an item."""
MISSING_CODE: Final = -1


class Events(NamedTuple):
    """Columns [n], by time. Times are epoch seconds; `NOTHING`, NaN or False stand where nothing was said."""

    user: Ints
    """Places in the sample."""
    item: Ints
    """Places in the `Goods`."""
    kind: Ints
    """Codes of `KIND`."""
    at: Ints
    session: Ints
    quantity: Floats
    value: Floats
    currency: NDArray[np.bool_]
    """Whether it is known."""
    position: Ints
    listed: NDArray[np.bool_]
    """Whether it is about a list of ours: it has a recommendation_id."""
    user_since: Ints
    """When the first event of its user was."""
    item_since: Ints
    """When the first event on its item was."""
    gap: Ints
    """Days since its user has turned to the item before, on another day; `NOTHING` where he never has."""

    def between(self, start: int, end: int) -> "Events":
        """Those in [start, end)."""
        first, last = np.searchsorted(self.at, [start, end])
        columns: Any = (column[first:last] for column in self)
        return Events(*columns)

    def such(self, mask: NDArray[np.bool_]) -> "Events":
        """Those of a mask."""
        columns: Any = (column[mask] for column in self)
        return Events(*columns)


@dataclass(frozen=True)
class ItemTable:
    """What is known of n items."""

    category: Ints
    """[n] codes of their top-level categories, `NOTHING` where it is not known."""
    vectors: NDArray[np.float32]
    """[n, d] in which items are alike that people turn to for the same reasons."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self.category)


def gaps(user: Ints, item: Ints, at: Ints, kind: Ints) -> Ints:
    """[n] `Events.gap`; `NOTHING` for what is no interaction."""
    acts = np.flatnonzero(INTERACTIONS[kind])
    day = at[acts] // DAY
    order = np.lexsort((day, item[acts], user[acts]))
    users, items, days = user[acts][order], item[acts][order], day[order]
    same = (users[1:] == users[:-1]) & (items[1:] == items[:-1])
    new = np.append(True, ~same | (days[1:] != days[:-1]))[: len(order)]
    first = np.flatnonzero(new)
    apart = np.where(np.append(False, same)[first], days[first] - days[first - 1], MISSING_CODE)
    result = np.full(len(user), MISSING_CODE, dtype=np.int64)
    result[acts[order]] = np.repeat(apart, np.diff(np.append(first, len(order))))
    return result
