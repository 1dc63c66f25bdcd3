"""Define the members of a call that are read, for files by SQL and for single calls alike, and SQL for their values."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from models.primitives.arrow_sql import texts

TYPES: Final = ("track", "page", "screen", "identify", "group", "alias")
IDS: Final = MappingProxyType(
    {"known_id": "userId", "anonymous_id": "anonymousId", "previous_id": "previousId", "message_id": "messageId"}
)
"""Column of a row → member of a call with an id."""
CONTEXT: Final = MappingProxyType({"visit": "sessionId", "user_agent": "userAgent", "ip": "ip"})
"""Column of a row → member of the context of a call."""
BLOCK: Final = (
    *("product_id", "sku", "id", "name", "category", "brand", "variant", "price", "quantity", "value", "currency"),
    *("coupon", "position", "url", "image_url", "placement", "recommendation_id", "recomm_id"),
)
"""The members of a product block that are read."""
_OF_EVENT: Final = (
    *("order_id", "orderId", "checkout_id", "cart_id", "session_id", "rating", "revenue", "subtotal", "total"),
)
WHOLE: Final = (*_OF_EVENT, "currency", "placement", "recommendation_id", "recomm_id")
"""The members of a whole event that are read."""
TEXT, JSON = "VARCHAR", "JSON"
Shape = Mapping[str, Any]
"""Members with their kinds: `TEXT`, `JSON`, another shape, or a list with a shape."""
STORED: Final[Shape] = MappingProxyType(
    {
        **dict.fromkeys(("type", "event", "name", "timestamp"), TEXT),
        "properties": {**dict.fromkeys((*BLOCK, *_OF_EVENT, "path"), TEXT), "products": [dict.fromkeys(BLOCK, TEXT)]},
    }
)
"""The members that the lake needs, besides ids, the context and traits."""
LINE: Final[Shape] = MappingProxyType(
    {
        **STORED,
        **dict.fromkeys((*IDS.values(), "receivedAt"), TEXT),
        "traits": JSON,
        "context": {**dict.fromkeys(CONTEXT.values(), TEXT), "consent": {"categoryPreferences": JSON}},
    }
)
"""All members of a line of a file."""
PAGE_PLACES: Final = ("path", "url")
"""The properties of a page that may name an item, before the name of the page."""

SPACE: Final = "' ' || chr(9) || chr(10) || chr(13)"
"""SQL for the white space of JSON."""
_LATEST: Final = "9999-12-31 23:59:59.999999"


def product_ids(*, id_first: bool) -> tuple[str, ...]:
    """Return the members that may name a product, the first that has a value counts."""
    return ("product_id", "id", "sku") if id_first else ("product_id", "sku", "id")


def word(value: str) -> str:
    """Return SQL for an id or a name: null for blanks, lists and objects; NUL is replaced for PostgreSQL."""
    # Comparisons come first, because they are many times faster than functions on every value of every line.
    container = f"({value} >= '[' AND {value} < '\\') OR ({value} >= '{{' AND {value} < '|')"
    blank = f"({value} < '!' AND trim({value}, {SPACE}) = '')"
    return f"""CASE WHEN (({container}) AND json_valid({value})) OR {blank} THEN NULL
        WHEN contains({value}, chr(0)) THEN replace({value}, chr(0), '\N{REPLACEMENT CHARACTER}')
        ELSE {value} END"""


def pointers(names: Sequence[str]) -> str:
    """Return JSON pointers to members of an object, with escaped names."""
    return texts("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


def instant(value: str) -> str:
    """Return SQL for a time in UTC; null for an invalid time, or a year outside 1 to 9999."""
    time = f"try_cast({value} AS TIMESTAMPTZ)"
    return f"CASE WHEN {time} BETWEEN '0001-01-01'::TIMESTAMPTZ AND '{_LATEST}'::TIMESTAMPTZ THEN {time} END"


def consent(answers: str, categories: Sequence[str]) -> str:
    """Return SQL: false if one of the categories was refused, true if none was, null without an answer."""
    given = [f"{answers}[{place}]" for place in range(1, len(categories) + 1)]
    if not given:
        return "NULL::BOOLEAN"
    agreed = " AND ".join(f"coalesce({answer} = 'true', true)" for answer in given)
    return f"CASE WHEN coalesce({', '.join(given)}) IS NOT NULL THEN {agreed} END"


NOT_JSON: Final = f"""CASE
    WHEN text IS NULL AND raw IS NOT NULL THEN 'not_utf8'
    WHEN coalesce(trim(text, {SPACE}), '') = '' THEN 'blank'
    ELSE 'not_json' END"""
"""SQL for the fault of a line that is no JSON."""
