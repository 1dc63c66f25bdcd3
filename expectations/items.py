"""What the catalogue promises."""

from expectations.rules import RowRule, missing, outside
from models import columns

RULES: tuple[RowRule, ...] = (
    missing(columns.ITEM_ID, "the item has no id"),
    missing(columns.TITLE, "the item has no title"),
    missing(columns.CATEGORY, "the item has no category"),
    outside("price_negative", "a price below zero", columns.PRICE, 0.0, None),
)

PROFILE_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "rows": (1, None),
    "quarantined_share": (None, 0.2),
}
