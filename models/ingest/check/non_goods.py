"""Find items that look like services or notes rather than goods, and files with wrong prices.

Both make the price of one piece vary.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NotRequired, TypedDict

import pyarrow as pa

from models import columns
from models.ingest.check.advice import OddBatch
from models.ingest.draft.mapping_text import operand, toml
from models.ingest.draft.vocabulary import NOTES, SERVICES
from models.ingest.segment.segment_mapping import LineMapping
from models.ingest.tabular.mapping_keys import LONGEST, Expression
from models.ingest.tabular.table_mapping import ItemsMapping
from models.primitives.arrow_sql import literal, query, statement_of

MOST: Final = 40
"""The largest number of suspects that are shown."""
_MOST_IDS: Final = 0.9
"""An id without digits is suspicious only if at least this share of ids has digits."""
_SPREAD: Final = 20
"""The ratio of the highest to the lowest usual price from which prices are suspicious."""
_PAID: Final = 20
"""The number of purchases from which prices count."""
_FEWEST, _CHANCE = 6, 0.05
"""The number of purchases from which it counts that none was kept, and how likely any good of the shop may show that
by chance, if it is returned at the rate of the other items."""
_SERVICE: Final = rf"(?i)(?:^|[^\p{{L}}])({SERVICES})(?:[^\p{{L}}]|$)"
_NOTE: Final = rf"(?i)^[^\p{{L}}]*(?:\p{{L}}+[^\p{{L}}]+)?({NOTES})[^\p{{L}}]*$"
_NOTE_FIRST: Final = rf"(?i)^[^\p{{L}}]*({NOTES})[^\p{{L}}]+\p{{L}}+[^\p{{L}}]*$"
_WORD: Final = ", ".join(
    f"nullif(regexp_extract(title, {literal(pattern)}, 1), '')" for pattern in (_SERVICE, _NOTE, _NOTE_FIRST)
)
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


class Suspect(TypedDict):
    """An item that may be no goods."""

    item_id: str
    title: str
    bought: int
    why: str
    by_text: NotRequired[bool]
    """Whether the id or the title shows it; otherwise only prices or refunds do."""


def suspects(items: pa.Table) -> list[Suspect]:
    """Return items that do not look like goods: id, title, purchases and reasons, the clearest first.

    `items` has item_id, title and price, `bought` (purchases), `returned` (those that were refunded), and `lowest` and
    `highest`, between which nine tenths of the prices of one piece lie.
    """
    parts = {"most_ids": _MOST_IDS, "paid": _PAID, "spread": _SPREAD, "fewest": _FEWEST, "word": _WORD}
    statement = statement_of(Path(__file__).with_name("suspects.sql"), chance=_CHANCE, **parts)
    rows: list[Suspect] = query(statement, items=items).to_pylist()
    return rows


def mark_for(ids: Sequence[str], mapping: ItemsMapping | LineMapping) -> str:
    """Return the line of a mapping that marks these items in addition to its present marks.

    It names as many items as fit into one expression.
    """
    item_id = mapping.item_id if isinstance(mapping, ItemsMapping) else columns.ITEM_ID
    source = operand(item_id)
    condition = f"{source} in ("
    for item in ids:
        if len(condition) + len(literal(item)) + 3 > LONGEST:
            break
        condition += f"{literal(item)}, "
    mark = f"{condition.removesuffix(', ')})"
    marked = [{"expr": one.text} if isinstance(one, Expression) else one for one in mapping.not_merchandise]
    return f"not_merchandise = {toml([*marked, {'expr': mark}] if marked else mark)}"


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
