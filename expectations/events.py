"""What events promise. Times are looked at as epoch seconds, as everywhere in expressions."""

from expectations.rules import RowRule, missing, not_among, outside
from models import columns

IN_CATALOGUE = "in_catalogue"
OCCURRED_S = "occurred_s"
AHEAD_S = "ahead_s"
"""Helper columns of the checked frame: known item, epoch seconds, seconds ahead of the time of reading."""

_YEAR_1990 = 631_152_000
_DAY = 86_400.0

RULES: tuple[RowRule, ...] = (
    missing(columns.EVENT_ID, "the event has no id"),
    missing(columns.USER_KEY, "nobody did it"),
    missing(columns.ITEM_ID, "it concerns no item"),
    missing(columns.OCCURRED_AT, "it has no time"),
    missing(columns.EVENT_TYPE, "nothing says what happened"),
    not_among("event_type_unknown", "no such kind of event", columns.EVENT_TYPE, columns.EVENT_TYPES),
    outside("quantity_not_positive", "a quantity of zero or less", columns.QUANTITY, 0.0, None, strict_low=True),
    outside("quantity_above_limit", "more than 1,000 pieces at once", columns.QUANTITY, None, 1000.0),
    outside("value_not_positive", "a value of zero or less", columns.VALUE, 0.0, None, strict_low=True),
    outside("time_before_1990", "it happened before 1990", OCCURRED_S, _YEAR_1990, None),
    outside("time_in_future", "it happens more than a day from now", AHEAD_S, None, _DAY),
    not_among("item_not_in_catalogue", "the item is not in the catalogue", IN_CATALOGUE, [True]),
)

PROFILE_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "rows": (1, None),
    "quarantined_share": (None, 0.2),
}
"""Limits of a batch as a whole: figures of its profile, lowest and highest."""
