"""Fills the shelves of a page. All of them are asked for at the same time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from serving.shop.client.answers import Shelf, Wanted
from serving.shop.pages.page import Page
from serving.shop.visits.visit import Visit

_EVERYBODY: Final = "Recommended to everybody"


@dataclass(frozen=True, slots=True)
class Shelves:
    """The shelves of a page that have products, and whether others are missing."""

    filled: tuple[tuple[Wanted, Shelf], ...]
    is_down: bool
    """Whether the API left a shelf open, so that it is old or missing."""

    def of(self, wanted: Wanted) -> Shelf | None:
        """Return a shelf; None if it is empty or missing."""
        return next((shelf for one, shelf in self.filled if one is wanted), None)


async def fill(page: Page, wanted: Sequence[Wanted]) -> Shelves:
    """Return the shelves of a page, which shows each title once: on the shelf with the fewest spare items."""
    answers = await asyncio.gather(*(page.parts.api.shelf(one, page.visit) for one in wanted))
    filled: dict[Wanted, tuple[Wanted, Shelf]] = {}
    shown = set[str]()
    for one, answer in sorted(zip(wanted, answers, strict=True), key=lambda pair: pair[0].spare):
        is_general = one.general is not None and not (answer and answer.is_personal)
        shelf = answer and answer.folded(one.k, shown)
        if shelf and shelf.items and not (is_general and not one.general):
            filled[one] = replace(one, title=one.general) if is_general and one.general else one, shelf
            shown.update(item.title.casefold() for item in shelf.items)
    in_order = tuple(filled[one] for one in wanted if one in filled)
    return Shelves(in_order, any(answer is None or answer.is_old for answer in answers))


def home_shelves(visit: Visit) -> list[Wanted]:
    """Return the shelves of the first page."""
    general = [
        Wanted("Popular at the moment", "/v1/trending", spare=20, about="everybody"),
        Wanted("Best sellers", "/v1/popular", spare=30, about="everybody"),
    ]
    if not visit.is_personal:
        return [Wanted(_EVERYBODY, "/v1/slots/home", spare=10), *general]
    personal = [Wanted("For you", "/v1/slots/home", spare=15, general=_EVERYBODY)]
    if visit.household is not None:
        personal.append(Wanted("Buy it again", "/v1/slots/buy-again", spare=5, general=""))
    return [*personal, *general]


def product_shelves(item: str) -> list[Wanted]:
    """Return what goes well with a product, and what is similar."""
    return [
        Wanted("Goes well with it", "/v1/slots/goes-well-with", (item,), 5, spare=5),
        Wanted("Similar products", "/v1/slots/similar-items", (item,), 10, spare=15),
    ]


def basket_shelf(items: tuple[str, ...]) -> Wanted:
    """Return what goes well with all products of a basket."""
    return Wanted("Goes well with your basket", "/v1/slots/goes-well-with", items, 10)
