"""The basket: its page, and the forms that change it."""

import asyncio
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.shop.client.answers import Product
from serving.shop.client.api import ApiDownError
from serving.shop.events import calls
from serving.shop.events.calls import Origin
from serving.shop.pages.page import Page
from serving.shop.pages.shelves import basket_shelf, fill
from serving.shop.visits.visit import MOST_LINES, is_id

Picked = tuple[str, Origin | None]
_UNREADABLE: Final = "The form names no product."
_ORDER: Final = re.compile("[0-9a-f]{16}")


async def basket(request: Request) -> Response:
    """Show the basket, and what goes well with it."""
    page = Page.of(request)
    items = page.visit.items
    wanted = [basket_shelf(items)] if items else []
    known, shelves = await asyncio.gather(_products(page, items), fill(page, wanted))
    lines = [(line.item, line.number, known.get(line.item)) for line in page.visit.basket]
    return page.show("basket.html", lines=lines, shelves=shelves, order=secrets.token_hex(8))


async def _products(page: Page, items: tuple[str, ...]) -> Mapping[str, Product]:
    try:
        return await page.parts.api.products(items)
    except ApiDownError:
        return {}  # the lines show their ids


async def add(request: Request) -> Response:
    """Put products into the basket."""
    page = Page.of(request)
    fields = await page.form()
    picked = list(picks(fields))
    lists = {item: origin.recommendation_id for item, origin in picked if origin is not None}
    changed = page.visit.added((item for item, _ in picked), lists)
    new = [(item, origin) for item, origin in picked if item in changed.items]
    page.track(*(calls.added(page.visit, page.agent, item, origin) for item, origin in new))
    return page.go(fields.get("back", "/"), changed)


async def remove(request: Request) -> Response:
    """Take a product out of the basket."""
    page = Page.of(request)
    item = (await page.form()).get("item", "")
    if item in page.visit.items:
        page.track(calls.removed(page.visit, page.agent, item))
    return page.go("/basket", page.visit.removed(item))


async def buy(request: Request) -> Response:
    """Buy what is in the basket, as far as a demo can. The form has a number of its own: two clicks are one order."""
    page = Page.of(request)
    order = (await page.form()).get("order", "")
    if not _ORDER.fullmatch(order):
        raise HTTPException(400, "The form has no number of an order. Open the basket again and repeat.")
    if not page.visit.basket:
        return page.go("/basket", page.visit)
    page.track(calls.bought(page.visit, page.agent, order))
    return page.go("/", page.visit.bought())


def picks(fields: Mapping[str, str]) -> Iterable[Picked]:
    """Yield the products of a button: a line with place and id for each. Raises HTTPException for other values."""
    lines = fields.get("pick", "").replace("\r", "").split("\n")
    if len(lines) > MOST_LINES:
        raise HTTPException(400, _UNREADABLE)
    for line in lines:
        position, _, item = line.partition(" ")
        if not is_id(item):
            raise HTTPException(400, _UNREADABLE)
        yield item, Origin.of(fields, position)
