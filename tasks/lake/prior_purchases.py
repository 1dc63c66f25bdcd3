"""Reads from the lake what was bought before lists were shown."""

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from infra.installation import Installation
from models.columns import ITEM_ID, PURCHASE, USER_KEY
from tasks.lake.event_engine import event_engine
from tasks.lake.event_sql import OWNER, SAID
from tasks.lake.reference_data import ReferenceData
from tasks.lake.refunds import LASTED_AT

_BEFORE: Final = f"""
    FROM {SAID} JOIN goods ON goods.item_id = said.item_id {{people}}
    WHERE event_type = '{PURCHASE}' AND occurred_at < to_timestamp($moment) AND {LASTED_AT}
"""
_POPULAR: Final = f"""
    SELECT goods.code AS item, count(DISTINCT {OWNER}) AS buyers, count(*) AS purchases
    {_BEFORE.format(people="")} GROUP BY 1
"""
_BOUGHT: Final = f"""
    SELECT DISTINCT people.code AS "user", goods.code AS item
    {_BEFORE.format(people=f"JOIN people ON people.user_key = {OWNER}")}
"""


class Before(NamedTuple):
    """Of n items and m users."""

    buyers: NDArray[np.float64]
    """[n] different users, of all."""
    purchases: NDArray[np.float64]
    """[n] by all."""
    pairs: Any
    """Boolean CSR, m x n."""


def prior_purchases(
    installation: Installation, known: ReferenceData, keys: NDArray[np.str_], ids: NDArray[np.str_], moment: float
) -> Before:
    """What was bought before a moment (epoch seconds) of the items `ids` [n]: by anybody, and by the users `keys` [m].

    Purchases that were known by then to be taken back did not happen.
    """
    counts, pairs = np.zeros((2, len(ids))), (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    with event_engine(installation, known) as engine:
        if engine is not None:
            for name, column, said in (("people", USER_KEY, keys), ("goods", ITEM_ID, ids)):
                codes = {column: pa.array(said.tolist(), pa.string()), "code": np.arange(len(said))}
                engine.connection.register(name, pa.table(codes))
            engine.match_refunds()
            popular = engine.query(_POPULAR, moment=moment).to_arrow_table()
            counts[:, popular["item"].to_numpy()] = [popular[name].to_numpy() for name in ("buyers", "purchases")]
            found = engine.query(_BOUGHT, moment=moment).to_arrow_table()
            pairs = (found["user"].to_numpy(), found["item"].to_numpy())
    had = sparse.csr_array((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(len(keys), len(ids)))
    return Before(counts[0], counts[1], had)
