"""Map the usual names of e-commerce events in Mixpanel to interactions."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from models.ingest.segment.event_types import Meaning, event_name, extended

_NAMES: Final[dict[Meaning, tuple[str, ...]]] = {
    Meaning("purchase", "purchase", many=True): (
        *("Purchase", "Purchased", "Purchase Completed", "Completed Purchase", "Checkout Completed", "Order Placed"),
        *("Product Purchased", "Purchased Product", "Item Purchased", "Purchased Item", "Charge"),
    ),
    Meaning("refund", "refund", many=True): ("Refund", "Refunded", "Purchase Refunded", "Order Returned"),
    Meaning("view", "view"): (
        *("Product View", "View Product", "Item Viewed", "View Item", "Item View", "Viewed Item"),
        *("Product Page Viewed", "Product Detail Viewed", "Product Detail View", "Item Detail Viewed"),
    ),
    Meaning("click", "click"): ("Item Clicked", "Select Item", "Product Selected", "Product Click"),
    Meaning("add_to_cart", "add_to_cart"): (
        *("Add to Cart", "Added to Cart", "Product Added to Cart", "Item Added to Cart", "Added Item to Cart"),
        *("Add to Basket", "Added to Basket", "Item Added", "Cart Item Added"),
    ),
    Meaning("remove_from_cart", "remove_from_cart"): (
        *("Remove from Cart", "Removed from Cart", "Product Removed from Cart", "Item Removed from Cart"),
        *("Remove from Basket", "Removed from Basket", "Item Removed", "Cart Item Removed"),
    ),
    Meaning("wishlist", "wishlist"): (
        *("Add to Wishlist", "Added to Wishlist", "Item Added to Wishlist", "Wishlist Item Added"),
    ),
    Meaning("list", "impression", many=True): ("View Item List", "Items Viewed", "Product Impressions"),
    Meaning("checkout", many=True): ("Checkout", "Begin Checkout", "Checkout Begun"),
    Meaning("search", products=False): ("Search", "Searched", "Search Performed"),
}

USUAL: Final[Mapping[str, Meaning]] = MappingProxyType(
    {event_name(name): meaning for meaning, names in _NAMES.items() for name in names}
)
"""Names that Mixpanel projects use besides those of Segment's specification; custom events replace them."""


def meanings(custom: Mapping[str, str]) -> Mapping[str, Meaning]:
    """Return the meanings of all events. Raises MeaningError for an unknown event type of a custom event."""
    own = {event_name(name): kind for name, kind in custom.items()}
    return extended({**USUAL, **own})
