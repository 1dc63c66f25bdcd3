"""What becomes of each Segment event: an interaction, a reversal, an update of the catalogue, or nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.columns import EVENT_TYPES
from models.errors import TailorbirdError


class MeaningError(TailorbirdError):
    """An event is given a meaning that nothing here knows."""


@dataclass(frozen=True)
class Meaning:
    """What an event means to us."""

    kind: str
    """What a line is counted as when it is no interaction."""
    event_type: str | None = None
    """One of EVENT_TYPES; None when the event is no interaction."""
    many: bool = False
    """Its products are in `products[]`; of an event about one product they are read only when it names none itself."""
    products: bool = True
    """Its products are read, be it only for what they say about the catalogue. Always true of an interaction."""

    def __post_init__(self) -> None:
        if self.event_type is not None and self.event_type not in EVENT_TYPES:
            known = ", ".join(EVENT_TYPES)
            raise MeaningError(f"There is no event type {self.event_type!r}. Use one of: {known}.")
        if self.event_type is not None and not self.products:
            raise MeaningError(f"A {self.event_type} is about products, so they have to be read: say products=True.")


def _one(event_type: str) -> Meaning:
    return Meaning(event_type, event_type)


def _nothing(kind: str) -> Meaning:
    return Meaning(kind, products=False)


_LIST = Meaning("list", "impression", many=True)
_CART = Meaning("cart", many=True)
_CHECKOUT = Meaning("checkout", many=True)
_STEP = _nothing("checkout")
_COUPON = _nothing("coupon")
_PROMOTION = _nothing("promotion")
_REVERSAL = Meaning("refund", "refund", many=True)

# The events of the e-commerce specification, version 2, as (object, action). Version 1 put the action first
# ("Viewed Product"), and its names stay in use; both orders are recognised.
_SPECIFICATION: Final[dict[tuple[str, str], Meaning]] = {
    ("products", "searched"): _nothing("search"),
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
    # What was bought was said when the order was completed: a second purchase would count it twice.
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
    ("experiment", "viewed"): _nothing("experiment"),
}

# No specification names these; they are what shops call stated preferences.
_CUSTOM: Final[dict[tuple[str, str], Meaning]] = {
    ("product", "rated"): _one("rating"),
    ("product", "liked"): _one("like"),
    ("product", "disliked"): _one("dislike"),
}


def event_name(name: str) -> str:
    """An event's name as it is looked up: `Order Completed`, `order_completed` and `orderCompleted` are one."""
    return re.sub("[ _-]", "", name.lower())


MEANINGS: Final[Mapping[str, Meaning]] = {
    event_name(name): meaning
    for (thing, action), meaning in (_SPECIFICATION | _CUSTOM).items()
    for name in (f"{thing} {action}", f"{action} {thing}")
}
"""The meaning of every known event, by its name as `event_name` writes it. All other events are routed."""

ACTION_FIRST: Final = frozenset(event_name(f"{action} {thing}") for thing, action in _SPECIFICATION)
"""The names of version 1, which calls a product's id `id`."""


def extended(custom: Mapping[str, Meaning | str]) -> Mapping[str, Meaning]:
    """The table with events of the caller's own, given as a meaning or as an event type about one product.

    A name that is known already gets the caller's meaning. Raises MeaningError for an unknown event type.
    """
    own = {event_name(name): _one(said) if isinstance(said, str) else said for name, said in custom.items()}
    return {**MEANINGS, **own}
