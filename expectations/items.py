"""Defines the expectations on items."""

from collections.abc import Sequence

from expectations.rules import RowRule, longer, missing, not_in_set, not_stated, outside, unreadable
from models import columns
from models.ingest.currencies import CODES
from models.ingest.source_config import LONGEST_ID

_READ = (
    *(columns.PRICE, columns.UPDATED_AT, columns.AVAILABLE_FROM, columns.AVAILABLE_UNTIL, columns.URL, columns.IMAGE),
)
"""Columns that a mapping reads as a number, a time or an address. Stock is not one of them: an item with an unreadable
stock would exclude all its events."""
RULES: tuple[RowRule, ...] = (
    missing(columns.ITEM_ID, "the item has no id"),
    longer(columns.ITEM_ID, LONGEST_ID),
    missing(columns.TITLE, "the item has no title"),
    outside("price_negative", "a price below zero", columns.PRICE, 0.0, None),
    not_in_set("currency_unknown", "no currency code by ISO 4217", columns.CURRENCY, sorted(CODES)),
    *map(unreadable, _READ),
)


def rules(required: Sequence[str] = ()) -> tuple[RowRule, ...]:
    """Return the row rules; `required` are further columns that may not be empty."""
    return (*RULES, *(not_stated(name, f"the item has no {name}") for name in required))


PROFILE_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "rows": (1, None),
    "quarantined_share": (None, 0.2),
}
