"""Distinguish files with wrong prices from items that are no goods: both make the price of one piece vary."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from models.ingest.check.odd_price_advice import OddBatch
from models.primitives.arrow_sql import query

_MANY: Final = 0.02
"""The largest share of items that only prices or refunds distinguish from goods."""
_FEW: Final = 4
"""This many such items are acceptable in a shop of any size."""
_BEST, _MOST_BEST = 0.01, 20
"""The share of bought items that are best sellers, and their largest number."""
_FAR: Final = 5
"""The ratio from which the median price of a batch is far from that of the batches before it."""
_BATCH_ITEMS: Final = 3
"""The number of items from which a batch is reported."""
_FARTHEST: Final = f"""
    WITH followed AS (
        SELECT *, median(price) OVER (
            PARTITION BY item_id, currency ORDER BY came ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS earlier FROM prices
    ), far AS (SELECT * FROM followed WHERE price >= {_FAR} * earlier OR {_FAR} * price <= earlier)
    SELECT batch_id, count(DISTINCT item_id) AS items, median(price) AS price, median(earlier) AS earlier,
        2 * count(*) >= sum(count(*)) OVER () AS majority
    FROM far GROUP BY 1 ORDER BY items DESC, max(came) DESC LIMIT 1
"""


def odd_batch(prices: pa.Table, files: Mapping[str, str], suspects: int) -> OddBatch | None:
    """Return the one batch that most odd prices of `suspects` items come from; None if there is none.

    `prices` has the median price of one piece by item_id, currency and batch_id, with `came`, the order of the batches.
    """
    for row in query(_FARTHEST, prices=prices).to_pylist():
        if row.pop("majority") and row["items"] >= max(_BATCH_ITEMS, suspects / 2):
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
