"""The kinds of events in a history, and the events besides purchases that a data set stores."""

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.columns import EVENT_TYPE, ITEM_ID, OCCURRED_AT, USER_KEY
from models.primitives.arrow import pa, pc

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

KINDS: Final = ("view", "cart", "purchase")
VIEW, CART, PURCHASE = range(len(KINDS))
_KIND_OF: Final = {
    "view": VIEW,
    "click": VIEW,
    "consume": VIEW,
    "add_to_cart": CART,
    "wishlist": CART,
    "like": CART,
}
"""The kinds of event types. Purchases come from the training data, which know their refunds."""


class Acts(NamedTuple):
    """n events in any order, with users and items by their positions in the training data."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    occurred_at: NDArray[np.int64]
    kind: NDArray[np.uint8]


def acts_of(data: "TrainingData") -> Acts:
    """Return the acts besides purchases, on items with purchases, that the data set stores for this cut.

    There are none at moments for which it stores none, in data sets of earlier formats and without a data set.
    """
    rows = data.origin.acts(data.cut) if data.origin else None
    if rows is None:
        empty = np.empty(0, dtype=np.int32)
        return Acts(empty, empty, empty.astype(np.int64), empty.astype(np.uint8))
    types = pa.array(list(_KIND_OF))
    place = pc.index_in(rows[EVENT_TYPE].cast(pa.string()), value_set=types)
    rows, place = rows.filter(place.is_valid()), place.drop_null()
    user, item = data.user_index(rows[USER_KEY]), data.item_index(rows[ITEM_ID])
    known = (user >= 0) & (item >= 0)
    kind = np.array(list(_KIND_OF.values()), dtype=np.uint8)[np.asarray(place)]
    at = np.asarray(rows[OCCURRED_AT]).astype(np.int64)
    return Acts(user[known], item[known], at[known], kind[known])
