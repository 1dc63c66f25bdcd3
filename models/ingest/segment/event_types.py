"""Map each Segment event to an interaction, a reversal, an update of the catalogue, or to nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.columns import EVENT_TYPES
from models.errors import TailorbirdError

SENT_AT: Final = "sentAt"
"""The member with the moment of sending, which differs when a library repeats a call."""


class MeaningError(TailorbirdError):
    """A custom event has an unknown meaning."""


@dataclass(frozen=True)
class Meaning:
    """The treatment of an event."""

    kind: str
    """The kind that a line counts as if it is no interaction."""
    event_type: str | None = None
    """One of EVENT_TYPES; None if the event is no interaction."""
    many: bool = False
    """Its products are in `products[]`; an event about one product uses them only if it names no product itself."""
    products: bool = True
    """Whether its products are read, at least for the catalogue. Always true for an interaction."""

    def __post_init__(self) -> None:
        if self.event_type is not None and self.event_type not in EVENT_TYPES:
            known = ", ".join(EVENT_TYPES)
            raise MeaningError(f"There is no event type {self.event_type!r}. Use one of: {known}.")
        if self.event_type is not None and not self.products:
            raise MeaningError(f"A {self.event_type} is about products, so they have to be read: set products=True.")


def _one(event_type: str) -> Meaning:
    return Meaning(event_type, event_type)


def _without_products(kind: str) -> Meaning:
    return Meaning(kind, products=False)


_LIST = Meaning("list", "impression", many=True)
_CART = Meaning("cart", many=True)
_CHECKOUT = Meaning("checkout", many=True)
_STEP = _without_products("checkout")
_COUPON = _without_products("coupon")
_PROMOTION = _without_products("promotion")
_REVERSAL = Meaning("refund", "refund", many=True)

# The events of the e-commerce specification, version 2, as (object, action). Version 1 put the action first
# ("Viewed Product"), and its names stay in use; both orders are recognised.
_SPECIFICATION: Final[dict[tuple[str, str], Meaning]] = {
    ("products", "searched"): _without_products("search"),
    ("product list", "viewed"): _LIST,
    ("product category", "viewed"): _LIST,  # version 1
    ("product list", "filtered"): _LIST,
    ("promotion", "viewed"): _PROMOTION,
    ("promotion", "clicked"): _PROMOTION,
    ("product", "clicked"): _one("click"),
    ("product", "viewed"): _one("view"),
    ("product details", "viewed"): _one("view"),  # version 1
    ("product", "added"): _one("add_to_cart"),
    ("product", "removed"): _one("remove_from_cart"),
    ("cart", "viewed"): _CART,
    ("cart", "shared"): Meaning("share", many=True),
    ("checkout", "started"): _CHECKOUT,
    ("order", "started"): _CHECKOUT,  # version 1
    ("checkout step", "viewed"): _STEP,
    ("checkout step", "completed"): _STEP,
    ("payment info", "entered"): _STEP,
    ("payment info", "added"): _STEP,  # version 1
    ("order", "completed"): Meaning("purchase", "purchase", many=True),
    # The completed order states the purchase already: a second one would count it twice.
    ("order", "updated"): Meaning("order_update", many=True),
    ("order", "refunded"): _REVERSAL,
    ("order", "cancelled"): _REVERSAL,
    ("order", "canceled"): _REVERSAL,
    ("coupon", "entered"): _COUPON,
    ("coupon", "applied"): _COUPON,
    ("coupon", "denied"): _COUPON,
    ("coupon", "removed"): _COUPON,
    ("product", "added to wishlist"): _one("wishlist"),
    ("product", "removed from wishlist"): Meaning("wishlist_removal"),
    ("wishlist product", "added to cart"): _one("add_to_cart"),
    ("product", "added to cart from wishlist"): _one("add_to_cart"),
    ("product", "added from wishlist to cart"): _one("add_to_cart"),
    ("product", "shared"): _one("like"),  # people recommend what they like
    ("product", "reviewed"): _one("rating"),
    ("experiment", "viewed"): _without_products("experiment"),
}

# No specification has these; shops use them for explicit preferences.
_CUSTOM: Final[dict[tuple[str, str], Meaning]] = {
    ("product", "rated"): _one("rating"),
    ("product", "liked"): _one("like"),
    ("product", "disliked"): _one("dislike"),
}


def event_name(name: str) -> str:
    """Return the lookup form of an event name: `Order Completed`, `order_completed` and `orderCompleted` are equal."""
    return re.sub("[ _-]", "", name.lower())


MEANINGS: Final[Mapping[str, Meaning]] = {
    event_name(name): meaning
    for (subject, action), meaning in (_SPECIFICATION | _CUSTOM).items()
    for name in (f"{subject} {action}", f"{action} {subject}")
}
"""The meaning of every known event, by the lookup form of its name. All other events are routed."""

ACTION_FIRST: Final = frozenset(event_name(f"{action} {subject}") for subject, action in _SPECIFICATION)
"""The names of version 1, in which the id of a product is `id`."""


def extended(custom: Mapping[str, Meaning | str]) -> Mapping[str, Meaning]:
    """Return the meanings with custom events, each a meaning or an event type about one product.

    A custom meaning replaces a known one. Raises MeaningError for an unknown event type.
    """
    own = {event_name(name): _one(meaning) if isinstance(meaning, str) else meaning for name, meaning in custom.items()}
    return {**MEANINGS, **own}
