"""Define each column name once, for every table, frame and artifact of Tailorbird."""

from typing import Final

EVENT_ID: Final = "event_id"
PAYLOAD_HASH: Final = "payload_hash"
USER_ID: Final = "user_id"
USER_KEY: Final = "user_key"
SESSION_ID: Final = "session_id"
ITEM_ID: Final = "item_id"
EVENT_TYPE: Final = "event_type"
OCCURRED_AT: Final = "occurred_at"
RECEIVED_AT: Final = "received_at"
REFUNDED_AT: Final = "refunded_at"
"""The time since which a purchase, or this state of it, is known to be refunded; null for one that is not."""
QUANTITY: Final = "quantity"
VALUE: Final = "value"
CURRENCY: Final = "currency"
RATING: Final = "rating"
PLACEMENT: Final = "placement"
POSITION: Final = "position"
RECOMMENDATION_ID: Final = "recommendation_id"
USER_AGENT: Final = "user_agent"
IP: Final = "ip"
"""The address of the sender of an event: checked on arrival and never stored."""
AUTHORITY: Final = "authority"
"""Who states the user of a live event: `SERVER`, `SIGNED`, `CLAIM` or `PAGE`. An event of a file has none."""
SERVER: Final = "server"
"""A server, by its key."""
SIGNED: Final = "signed"
"""A page, with the signature of the shop's server."""
CLAIM: Final = "claim"
"""A page that names a user without a signature."""
PAGE: Final = "page"
"""A page that names no user: the visitor is a device."""
SOURCE: Final = "source"
BATCH_ID: Final = "batch_id"
MONTH: Final = "month"

TITLE: Final = "title"
CATEGORY: Final = "category"
BRAND: Final = "brand"
PRICE: Final = "price"
ATTRIBUTES: Final = "attributes"
AVAILABLE: Final = "available"
"""Whether an item is merchandise: something that people shop for."""
URL: Final = "url"
IMAGE: Final = "image"
VARIANT_ID: Final = "variant_id"
"""The variant of an item that an event is about, such as a size."""
VARIANT_IDS: Final = "variant_ids"
"""The attribute of an item with the ids of its variants, a line each."""
IN_STOCK: Final = "in_stock"
"""Whether an item can be bought now; unknown counts as yes."""
AVAILABLE_FROM: Final = "available_from"
AVAILABLE_UNTIL: Final = "available_until"
"""An item is recommended from the first moment up to, but not including, the second."""
UPDATED_AT: Final = "updated_at"
"""The time since which a catalogue row is valid; the latest one if equal rows are merged."""
CONSENT: Final = "consent"
CONSENT_AT: Final = "consent_at"

MODEL_VERSION: Final = "model_version"

ITEMS: Final = "items"
"""A list, best first."""
SHOWN_FROM: Final = "shown_from"
SHOWN_UNTIL: Final = "shown_until"

AS_OF: Final = "as_of"

PURCHASE: Final = "purchase"
REFUND: Final = "refund"
WHOLE_ORDER: Final = "*"
"""The item of a refund that names none: it refunds the whole order (`session_id`)."""
EVENT_TYPES: Final = (
    "impression",
    "view",
    "click",
    "consume",
    "add_to_cart",
    "remove_from_cart",
    "wishlist",
    PURCHASE,
    REFUND,
    "rating",
    "like",
    "dislike",
)
"""All event types that the lake may hold."""

CHANGING: Final = (TITLE, CATEGORY, BRAND, PRICE)
"""The columns of an item whose history is stored."""
CATEGORY_SEPARATOR: Final = "|"
"""Separates the levels of a category path, most general first."""

LEDGER: Final = ("read", "accepted", "quarantined", "duplicate", "suppressed", "routed")
"""The ledger's counts; `read` is the sum of the others, for every batch."""


ROW: Final = "row_number"


def known_event_type(name: str) -> str:
    """Return the name of an event type. Raises ValueError for any other text."""
    if name not in EVENT_TYPES:
        raise ValueError(f"there is no event type {name!r}; use one of {', '.join(EVENT_TYPES)}")
    return name
