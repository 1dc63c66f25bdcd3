"""Fills the shelves of a page. All of them are asked for at the same time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from serving.shop.client.answers import Shelf
from serving.shop.client.wanted import Wanted
from serving.shop.pages.page import Page
from serving.shop.visits.visit import Visit


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
    """Return the shelves of a page."""
    answers = await asyncio.gather(*(page.parts.api.shelf(one, page.visit) for one in wanted))
    filled = tuple((one, shelf) for one, shelf in zip(wanted, answers, strict=True) if shelf and shelf.items)
    return Shelves(filled, any(shelf is None or shelf.is_old for shelf in answers))


def home_shelves(visit: Visit) -> list[Wanted]:
    """Return the shelves of the first page."""
    general = [
        Wanted("Popular at the moment", "/v1/trending", about="everybody"),
        Wanted("Best sellers", "/v1/popular", about="everybody"),
    ]
    if not visit.is_personal:
        return [Wanted("Recommended to everybody", "/v1/slots/home"), *general]
    personal = [Wanted("For you", "/v1/slots/home")]
    if visit.household is not None:
        personal.append(Wanted("Buy it again", "/v1/slots/buy-again"))
    return [*personal, *general]


def product_shelves(item: str) -> list[Wanted]:
    """Return what goes well with a product, and what is similar."""
    return [
        Wanted("Goes well with it", "/v1/slots/goes-well-with", (item,), 5),
        Wanted("Similar products", "/v1/slots/similar-items", (item,), 10, spare=10),
    ]


def basket_shelf(items: tuple[str, ...]) -> Wanted:
    """Return what goes well with all products of a basket."""
    return Wanted("Goes well with your basket", "/v1/slots/goes-well-with", items, 10)
