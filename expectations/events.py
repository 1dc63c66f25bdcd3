"""Defines the expectations on events. Times are epoch seconds, as in all expressions."""

from collections.abc import Sequence

from expectations.rules import RowRule, in_set, longer, marked, missing, not_in_set, not_stated, outside, unreadable
from expectations.users import LONG_ID
from models import columns
from models.ingest import placeholder_ids, source_config
from models.ingest.batch_limits import Limits
from models.ingest.currencies import CODES

IN_CATALOGUE = "in_catalogue"
OCCURRED_S = "occurred_s"
AHEAD_S = "ahead_s"
"""Helper columns of the checked frame: known item, epoch seconds, seconds ahead of the time of reading. The frame also
has the marks of `models.ingest.source_config`."""

_YEAR_1990 = 631_152_000
_DAY = 86_400.0
_LARGEST_RATING = 1000.0
_USUAL = Limits()


def rules(
    placeholder_keys: Sequence[str] = (),
    placeholder_items: Sequence[str] = (),
    limits: Limits = _USUAL,
    required: Sequence[str] = (),
) -> tuple[RowRule, ...]:
    """Return the row rules for these pseudonyms and items of placeholders.

    `required` are further columns that may not be empty.
    """
    quantity, value = limits.highest_quantity, limits.highest_value
    user_placeholder = "an id that identifies no user, such as null or guest"
    item_placeholder = "an id that identifies no item, such as null or undefined"
    return (
        missing(columns.EVENT_ID, "the event has no id"),
        missing(columns.USER_KEY, "the event has no user"),
        missing(columns.ITEM_ID, "the event has no item"),
        not_stated(columns.OCCURRED_AT, "the event has no time"),
        missing(columns.EVENT_TYPE, "the event has no type"),
        *(not_stated(name, f"the event has no {name}") for name in required),
        *map(unreadable, _READ),
        *(longer(name, source_config.LONGEST_ID) for name in (columns.EVENT_ID, columns.ITEM_ID, columns.SESSION_ID)),
        LONG_ID,
        in_set("user_id_placeholder", user_placeholder, columns.USER_KEY, placeholder_keys),
        in_set("item_id_placeholder", item_placeholder, columns.ITEM_ID, placeholder_items),
        not_in_set("event_type_unknown", "an unknown type of event", columns.EVENT_TYPE, columns.EVENT_TYPES),
        outside("quantity_not_positive", "a quantity of zero or less", columns.QUANTITY, 0.0, None, strict_low=True),
        outside(
            "quantity_above_limit", f"more than {quantity:,.0f} pieces in one row", columns.QUANTITY, None, quantity
        ),
        outside("value_not_positive", "a value of zero or less", columns.VALUE, 0.0, None, strict_low=True),
        outside("value_above_limit", f"a value of more than {value:,.0f}", columns.VALUE, None, value),
        not_in_set("currency_unknown", "no currency code by ISO 4217", columns.CURRENCY, sorted(CODES)),
        outside("rating_beyond_limit", _FAR_RATING, columns.RATING, -_LARGEST_RATING, _LARGEST_RATING),
        outside("position_negative", "a position below 0", columns.POSITION, 0.0, None),
        outside("time_before_1990", "a time before 1990", OCCURRED_S, _YEAR_1990, None),
        outside("time_in_future", "a time more than a day in the future", AHEAD_S, None, _DAY),
        not_in_set("item_not_in_catalogue", "the item is not in the catalogue", IN_CATALOGUE, [True]),
        marked("robot", "an event of a robot", source_config.ROBOT),
        marked("internal_traffic", "an event of an internal user or address", source_config.INTERNAL),
    )


_READ = (
    *(columns.OCCURRED_AT, columns.RECEIVED_AT),
    *(columns.QUANTITY, columns.VALUE, columns.RATING, columns.POSITION),
)
"""Columns that a mapping reads as a time or a number."""
_FAR_RATING = f"a rating beyond {_LARGEST_RATING:,.0f}, or below {-_LARGEST_RATING:,.0f}"

RULES = rules(placeholder_items=placeholder_ids.ITEMS)
"""The rules for a source without placeholders for users."""

PROFILE_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "rows": (1, None),
    "quarantined_share": (None, 0.2),
}
"""Limits of a batch as a whole: lowest and highest values of figures of its profile."""
