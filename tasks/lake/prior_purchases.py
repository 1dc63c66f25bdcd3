"""Reads from the lake the purchases before lists were shown."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from infra.installation import Installation
from models.columns import PURCHASE
from tasks.lake.event_engine import event_engine
from tasks.lake.event_query import EventQuery, of_type
from tasks.lake.reference_data import ReferenceData

_PURCHASES: Final = (
    EventQuery()
    .join_items("items")
    .where(of_type(PURCHASE), "event.occurred_at < to_timestamp($moment)")
    .not_refunded("$moment")
)
_POPULARITY: Final = _PURCHASES.select(
    f"items.code AS item, count(DISTINCT {EventQuery.USER}) AS buyers, count(*) AS purchases", "GROUP BY 1"
)
_PAIRS: Final = _PURCHASES.join_users("users").select('DISTINCT users.code AS "user", items.code AS item')


class PriorPurchases(NamedTuple):
    """Purchases of n items, by all users and by m of them."""

    buyers: NDArray[np.float64]
    """[n] distinct buyers among all users."""
    purchases: NDArray[np.float64]
    """[n] purchases by all users."""
    pairs: Any
    """Boolean CSR, m x n: which of the m users bought the item."""


def prior_purchases(
    installation: Installation, reference: ReferenceData, keys: NDArray[np.str_], ids: NDArray[np.str_], moment: float
) -> PriorPurchases:
    """Return the purchases of the items `ids` [n] before a moment (epoch s), by all users and by the users `keys` [m].

    Purchases whose refund was known by then do not count.
    """
    counts, pairs = np.zeros((2, len(ids))), (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    with event_engine(installation, reference) as engine:
        if engine is not None:
            engine.register_codes(keys, ids)
            engine.match_refunds()
            popularity = engine.query(_POPULARITY, moment=moment).to_arrow_table()
            counts[:, popularity["item"].to_numpy()] = [popularity[name].to_numpy() for name in ("buyers", "purchases")]
            rows = engine.query(_PAIRS, moment=moment).to_arrow_table()
            pairs = (rows["user"].to_numpy(), rows["item"].to_numpy())
    bought = sparse.csr_array((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(len(keys), len(ids)))
    return PriorPurchases(counts[0], counts[1], bought)
