"""Tells files with wrong prices from items that are no goods: both make what people pay for one piece differ."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from models.ingest.check.odd_price_advice import OddBatch
from models.primitives.arrow_sql import query

_MANY: Final = 0.02
"""A shop has no larger share of items that only their prices or refunds tell from goods."""
_FEW: Final = 4
"""So many such items are not many, however few are bought."""
_BEST, _MOST_BEST = 0.01, 20
"""The share of bought items that are best sellers, and how many are at most."""
_FAR: Final = 5
"""Times by which the median price of a batch differs from that of the batches before it."""
_BATCH_ITEMS: Final = 3
"""Items from which on a batch is blamed."""
_FARTHEST: Final = f"""
    WITH followed AS (
        SELECT *, median(price) OVER (
            PARTITION BY item_id, currency ORDER BY came ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS earlier FROM prices
    ), far AS (SELECT * FROM followed WHERE price >= {_FAR} * earlier OR {_FAR} * price <= earlier)
    SELECT batch_id, count(DISTINCT item_id) AS items, median(price) AS price, median(earlier) AS earlier,
        2 * count(*) >= sum(count(*)) OVER () AS alone
    FROM far GROUP BY 1 ORDER BY items DESC, max(came) DESC LIMIT 1
"""


def odd_batch(prices: pa.Table, files: Mapping[str, str], suspects: int) -> OddBatch | None:
    """Return the one batch that most odd prices of `suspects` items come from; None if there is none.

    `prices` has the median price of one piece by item_id, currency and batch_id, with `came`, the order of the batches.
    """
    for row in query(_FARTHEST, prices=prices).to_pylist():
        if row.pop("alone") and row["items"] >= max(_BATCH_ITEMS, suspects / 2):
            return OddBatch(file=files[row["batch_id"]], **row)
    return None


def too_many(suspects: Sequence[Mapping[str, Any]], items: pa.Table) -> bool:
    """Return whether bought suspects are too many to be no goods, or among the best sellers.

    `items` has the purchases of each item as `bought`.
    """
    sold = sorted((count for count in items["bought"].to_pylist() if count), reverse=True)
    bought = [row["bought"] for row in suspects if row["bought"]]
    best = int(min(_BEST * len(sold), _MOST_BEST))
    return len(bought) > max(_FEW, _MANY * len(sold)) or bool(best and bought and max(bought) >= sold[best - 1])
