"""What the catalogue promises."""

from expectations.rules import RowRule, longer, missing, outside
from models import columns
from models.shapes.traffic import LONGEST_ID

RULES: tuple[RowRule, ...] = (
    missing(columns.ITEM_ID, "the item has no id"),
    longer(columns.ITEM_ID, LONGEST_ID),
    missing(columns.TITLE, "the item has no title"),
    outside("price_negative", "a price below zero", columns.PRICE, 0.0, None),
)

PROFILE_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "rows": (1, None),
    "quarantined_share": (None, 0.2),
}
