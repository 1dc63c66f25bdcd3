"""Renders templates. Every text of the catalogue and of visitors is escaped."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode
from zlib import crc32

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from serving.shop.client.answers import Shelf, ShelfItem
from serving.shop.pages.moments import moment
from serving.shop.pages.notes import NOTES
from serving.shop.pages.why import why

_TEMPLATES: Final = Path(__file__).parents[1] / "templates"
_COLOURS: Final = 6
_LEVEL: Final = "|"


def rendered(template: str, **values: Any) -> str:
    """Return a page."""
    return _ENVIRONMENT.get_template(template).render(values)


def compile_templates() -> None:
    """Compile all templates, so that no visitor waits for it."""
    for name in _ENVIRONMENT.list_templates():
        _ENVIRONMENT.get_template(name)


def product_path(item: str, shelf: Shelf | None = None, rank: int = 0) -> str:
    """Return the address of a product. From a shelf it carries the list and the place along."""
    path = f"/products/{quote(item, safe='')}"
    if shelf is None or not shelf.recommendation_id:
        return path
    origin = {"list": shelf.recommendation_id, "placement": shelf.placement, "position": rank}
    return f"{path}?{urlencode(origin)}"


def pick(*items: ShelfItem) -> str:
    """Return the value of a button that puts items into the basket: a line with place and id for each."""
    return "\n".join(f"{item.rank} {item.item_id}" for item in items)


def _price(price: float, currency: str | None) -> str:
    return f"{price:.2f} {currency or ''}".strip()


def _initials(title: str) -> str:
    return "".join(word[0] for word in title.split() if word[0].isalnum())[:2].upper() or "?"


def _colour(text: str) -> str:
    return f"tile-{crc32(text.encode()) % _COLOURS}"


def _levels(category: str) -> list[tuple[str, str]]:
    """Return name and path of each level of a category."""
    parts = [part for part in category.split(_LEVEL) if part]
    return [(part.title(), _LEVEL.join(parts[: depth + 1])) for depth, part in enumerate(parts)]


def _web(address: str | None) -> str:
    """Return an address that leads to a web page; empty for others."""
    return address if address is not None and address.startswith(("http://", "https://")) else ""


_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_ENVIRONMENT.globals.update(product_path=product_path, pick=pick, why=why, notes=NOTES)
_ENVIRONMENT.filters.update(price=_price, initials=_initials, colour=_colour, levels=_levels, moment=moment, web=_web)
