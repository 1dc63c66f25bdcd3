"""Events of a sample of users as numeric columns, in order of time."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR, EVENT_TYPES, PURCHASE
from models.features.tables.user_features import ENGAGEMENT

Ints = NDArray[np.signedinteger[Any]]
Floats = NDArray[np.float64]

DAY: Final = 86_400
KIND: Final = {name: code for code, name in enumerate(EVENT_TYPES)}
BOUGHT: Final = KIND[PURCHASE]
SHOWN: Final = KIND["impression"]
CLICKED: Final = KIND["click"]
INTERACTIONS: Final = np.isin(EVENT_TYPES, [name for _, names in ENGAGEMENT for name in names])
"""By code, whether an event shows interest in an item."""
MISSING_CODE: Final = -1
_SIZE: Final = 32


class Events(NamedTuple):
    """Columns [n], by time. Times are epoch seconds; `MISSING_CODE`, NaN or False mean missing."""

    user: Ints
    """Positions of the users in the sample."""
    item: Ints
    """Positions of the items in the `ItemTable`."""
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
    """Whether the event belongs to a published list: it has a recommendation_id."""
    user_since: Ints
    """Time of the user's first event."""
    item_since: Ints
    """Time of the item's first event."""
    gap: Ints
    """Days since the user's last interaction with the item on an earlier day; `MISSING_CODE` without one."""

    def between(self, start: int, end: int) -> "Events":
        """Return the events in [start, end)."""
        first, last = np.searchsorted(self.at, [start, end])
        columns: Any = (column[first:last] for column in self)
        return Events(*columns)

    def such(self, mask: NDArray[np.bool_]) -> "Events":
        """Return the events of a mask."""
        columns: Any = (column[mask] for column in self)
        return Events(*columns)


@dataclass(frozen=True)
class ItemTable:
    """Categories and vectors of n items."""

    category: Ints
    """[n] codes of the top-level categories, `MISSING_CODE` if unknown."""
    vectors: NDArray[np.float32]
    """[n, d] similar for items with similar categories."""

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.category)


def gaps(user: Ints, item: Ints, at: Ints, kind: Ints) -> Ints:
    """Return [n] `Events.gap`; `MISSING_CODE` for events that are no interactions."""
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


def item_vectors(items: NDArray[np.str_], category: NDArray[np.str_]) -> NDArray[np.float32]:
    """Return [n, 32] the sum of a random direction for each level of an item's category path.

    The more levels two items share, the more similar they are (random projections, Achlioptas 2003). Items without a
    category are 0. If no item has a category, each item has a direction of its own.
    """
    names = category if (category != "").any() else items
    paths, place = np.unique(names, return_inverse=True)
    vectors = np.zeros((len(paths), _SIZE), dtype=np.float32)
    for row, name in enumerate(paths.tolist()):
        levels = name.split(CATEGORY_SEPARATOR) if name else []
        for depth in range(len(levels)):
            vectors[row] += _direction(CATEGORY_SEPARATOR.join(levels[: depth + 1]))
    return vectors[place]


def _direction(name: str) -> NDArray[np.float32]:
    """Return a direction that depends only on the name."""
    signs = np.random.default_rng(crc32(name.encode())).integers(0, 2, _SIZE)
    return (2 * signs - 1).astype(np.float32)
