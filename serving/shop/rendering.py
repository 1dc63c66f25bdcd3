"""Renders templates, with the sentences of the shop. Every text of the catalogue and of visitors is escaped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode
from zlib import crc32

from serving.http.safe_pages import templates
from serving.shop.api import Shelf, ShelfItem, Wanted
from serving.shop.looks import ICONS, drawn, icon, money
from serving.shop.visits import Note, Visit

_COLOURS: Final = 6
_LEVEL: Final = "|"
_MADE_AHEAD: Final = "The recommender made this list ahead of time"
_SOURCES: Final[Mapping[str, str]] = {
    "table": _MADE_AHEAD,
    "cache": _MADE_AHEAD,
    "live": "The recommender computed this list just now",
    "last_good": "This is the last list that the recommender has for this request",
    "segment": "These are best sellers among customers with similar traits",
    "popular": "These are best sellers among all customers",
}
_OLD: Final = (
    "The recommender does not answer at the moment. This is the last list for everybody that the shop received."
)
NOBODY: Final = "It depends on no person."
NOTES: Final[Mapping[Note, str]] = {
    "added": "It is in your basket.",
    "full": "Your basket is full. Remove a product first.",
    "removed": "It is no longer in your basket.",
    "changed": "The quantity is changed.",
    "bought": "Thank you! This is a demo: nothing was charged, and nothing will be delivered.",
    "hidden": "You will not see this product on any shelf again.",
    "hidden-here": "This browser does not show the product on any shelf again.",
    "agreed": "Your shelves become personal from now on. You can change that at any time under “Privacy”.",
    "refused": "Your shelves are those of everybody. The shop states nothing about you to the recommender.",
    "refused-here": "Your shelves are those of everybody. The recommender does not answer at the moment: it gets your "
    "refusal as soon as it does.",
    "signed-in": "You are signed in.",
    "signed-out": "You are signed out.",
    "copy": "Your copy is being made. Open this page again in some minutes.",
}


def rendered(template: str, **values: Any) -> str:
    """Return a page."""
    return _ENVIRONMENT.get_template(template).render(values)


def compile_templates() -> None:
    """Compile all templates and draw all icons, so that no visitor waits for it."""
    for name in ICONS:
        drawn(name)
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


def _colour(text: str) -> str:
    return f"tile-{crc32(text.encode()) % _COLOURS}"


def _levels(category: str) -> list[tuple[str, str]]:
    """Return name and path of each level of a category."""
    parts = [part for part in category.split(_LEVEL) if part]
    return [(part.title(), _LEVEL.join(parts[: depth + 1])) for depth, part in enumerate(parts)]


def why(shelf: Shelf, wanted: Wanted, visit: Visit) -> list[str]:
    """Return sentences about the origin of a shelf: how it was made, from what, and by which model."""
    sentences = [_OLD] if shelf.is_old else [_how(shelf), _from(wanted, visit, shelf)]
    if shelf.degraded:
        sentences.append(
            "A part of the recommender did not answer, so a simpler list takes the place of the usual one."
        )
    return sentences


def _how(shelf: Shelf) -> str:
    how = _SOURCES.get(shelf.source, f"The recommender found this list ({shelf.source})")
    if shelf.model_version is not None:
        how += f", with version {shelf.model_version} of its model"
    return f"{how}."


def _from(wanted: Wanted, visit: Visit, shelf: Shelf) -> str:
    if wanted.context:
        return "It is about the products on this page."
    if wanted.about == "everybody" or not visit.is_personal or shelf.source == "popular":
        return NOBODY
    if not shelf.is_personal:
        return "It depends on nothing that you bought or clicked."
    if shelf.source == "segment":
        return "It depends on traits that are stored about your household, because you agreed to that."
    if visit.household is None:
        return "It depends on what you clicked in this browser, because you agreed to that."
    return "It depends on what your household bought, and on your latest clicks, because you agreed to that."


_ENVIRONMENT: Final = templates(Path(__file__).parent / "templates")
_ENVIRONMENT.globals.update(product_path=product_path, pick=pick, why=why, notes=NOTES, icon=icon, drawn=drawn)
_ENVIRONMENT.filters.update(price=money, colour=_colour, levels=_levels)
