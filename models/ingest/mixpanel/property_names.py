"""List the names under which properties of products and orders are found."""

from collections.abc import Iterator, Mapping
from typing import Final

from models.ingest.segment.json_lines import BLOCK, WHOLE

PRODUCTS: Final = "products"
"""The member that holds the list of an event's products."""
_SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "product_id": ("item_id", "content_id"),
    "name": ("product_name", "item_name", "title"),
    "category": ("product_category", "item_category"),
    "brand": ("product_brand", "item_brand"),
    "variant": ("item_variant", "product_variant"),
    "price": ("unit_price", "item_price", "product_price"),
    "quantity": ("qty", "item_quantity"),
    "value": ("line_value", "amount"),
    "currency": ("currency_code",),
    "coupon": ("coupon_code",),
    "url": ("product_url",),
    "image_url": ("product_image",),
    "order_id": ("transaction_id", "order_number"),
    "rating": ("stars",),
    "total": ("order_total", "total_price", "cart_total"),
    PRODUCTS: ("items", "line_items", "cart_items", "product_ids", "item_ids"),
}
MEMBERS: Final = tuple(dict.fromkeys((*BLOCK, *WHOLE, PRODUCTS)))
"""The members that own properties can be assigned to."""


def names_of(member: str, own: Mapping[str, str]) -> list[str]:
    """Return the names of a member's property, the first that has a value counts: own names, then the usual ones."""
    mine = [name for name, target in own.items() if target == member]
    usual = (spelling for word in (member, *_SYNONYMS.get(member, ())) for spelling in _spellings(word))
    return list(dict.fromkeys([*mine, *usual]))


def _spellings(word: str) -> Iterator[str]:
    """Yield `product_id` as product_id, Product ID, Product Id, product id, productId and ProductId."""
    parts = word.split("_")
    title = [part.title() for part in parts]
    yield word
    yield " ".join("ID" if part == "id" else part.title() for part in parts)
    yield " ".join(title)
    yield " ".join(parts)
    yield parts[0] + "".join(title[1:])
    yield "".join(title)
