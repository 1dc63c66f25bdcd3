"""The categories of a fashion retailer, with share of sales, usual price and best month, and its brands."""

from typing import Final, NamedTuple


class Category(NamedTuple):
    """A leaf of the tree of categories."""

    path: str
    share: float
    """Share of the sales of its department, before seasons."""
    price: float
    """Price of an item in the middle of the range, in euros."""
    peak: int = 0
    """The month with the most sales, 1 to 12; 0 without a season."""


CATEGORIES: Final = (
    Category("Women|Dresses|Summer dresses", 6, 35, 6),
    Category("Women|Dresses|Evening dresses", 2, 60, 12),
    Category("Women|Dresses|Work dresses", 3, 45),
    Category("Women|Tops|T-shirts", 9, 12, 6),
    Category("Women|Tops|Blouses", 6, 28),
    Category("Women|Tops|Knitwear", 6, 35, 11),
    Category("Women|Bottoms|Jeans", 7, 40),
    Category("Women|Bottoms|Trousers", 6, 32),
    Category("Women|Bottoms|Skirts", 4, 27, 5),
    Category("Women|Outerwear|Coats", 3, 90, 11),
    Category("Women|Outerwear|Light jackets", 3, 50, 4),
    Category("Women|Underwear|Lingerie", 7, 18),
    Category("Women|Underwear|Tights", 5, 8, 11),
    Category("Women|Beach|Swimwear", 4, 25, 6),
    Category("Men|Tops|T-shirts", 8, 13, 6),
    Category("Men|Tops|Shirts", 6, 32),
    Category("Men|Tops|Knitwear", 5, 38, 11),
    Category("Men|Bottoms|Jeans", 7, 45),
    Category("Men|Bottoms|Chinos", 5, 38),
    Category("Men|Bottoms|Shorts", 4, 24, 7),
    Category("Men|Outerwear|Coats", 2, 110, 11),
    Category("Men|Underwear|Boxers", 6, 15),
    Category("Men|Underwear|Socks", 6, 7, 12),
    Category("Kids|Baby|Bodysuits", 6, 9),
    Category("Kids|Baby|Sleepwear", 4, 14, 12),
    Category("Kids|Girls|Dresses", 5, 18, 6),
    Category("Kids|Girls|Leggings", 5, 9),
    Category("Kids|Boys|T-shirts", 5, 9, 6),
    Category("Kids|Boys|Trousers", 5, 18, 9),
    Category("Kids|Outdoor|Snow suits", 2, 55, 12),
    Category("Sport|Running|Tights", 4, 30, 4),
    Category("Sport|Running|Shoes", 3, 85, 4),
    Category("Sport|Training|Tops", 5, 22, 1),
    Category("Sport|Training|Bras", 4, 26, 1),
    Category("Sport|Outdoor|Jackets", 3, 95, 10),
    Category("Shoes and bags|Shoes|Sandals", 4, 32, 6),
    Category("Shoes and bags|Shoes|Sneakers", 6, 55),
    Category("Shoes and bags|Shoes|Boots", 4, 80, 11),
    Category("Shoes and bags|Bags|Handbags", 4, 42),
    Category("Shoes and bags|Accessories|Scarves and hats", 4, 16, 12),
    Category("Home|Textiles|Bedding", 4, 40),
    Category("Home|Decoration|Candles and lights", 4, 14, 12),
)
"""Categories in the order of their departments."""

DEPARTMENTS: Final = tuple(dict.fromkeys(category.path.split("|")[0] for category in CATEGORIES))

STYLES: Final = 6
"""Ranges with a common look and price, the cheapest first; a brand belongs to one."""
STEP: Final = 1.45
"""Factor between the prices of neighbouring ranges."""

BRANDS: Final = tuple(
    first + last
    for first in ("Nord", "Ash", "Elm", "Lark", "Mar", "Sol", "Tam", "Vel", "Win", "Kes")
    for last in ("by", "ora", "field", "mere", "vane", "holt")
)
"""Brands; brand b belongs to range b modulo STYLES."""
