"""The pages for looking around: home, product and search."""

import asyncio
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.http.safe_pages import is_own
from serving.shop.client.answers import Found, Product
from serving.shop.client.api import ApiDownError
from serving.shop.events import calls
from serving.shop.events.calls import Origin
from serving.shop.pages.page import Page
from serving.shop.pages.shelves import fill, home_shelves, product_shelves
from serving.shop.visits.visit import LONGEST_ID, is_id

_PAGE: Final = 24
_DEEPEST: Final = 9_600
_AFTER_ADDING: Final = ("added", "full")
_BUNDLE: Final = 2
"""The products that a bundle adds to the one of the page."""
DOWN: Final = "The recommender does not answer at the moment, and with it the catalogue. Try again in a minute."


async def home(request: Request) -> Response:
    """Show the shelves of the first page."""
    page = Page.of(request)
    return page.show("home.html", shelves=await fill(page, home_shelves(page.visit)))


async def product(request: Request) -> Response:
    """Show a product, what goes well with it, and what is similar."""
    page, item = Page.of(request), request.path_params["item"]
    if not is_id(item):
        raise HTTPException(404)
    wanted = product_shelves(item)
    known, shelves = await asyncio.gather(_product(page, item), fill(page, wanted))
    if known is None:
        raise HTTPException(404)
    query = request.query_params
    # A link on a page of another site is no click on a shelf of ours.
    origin = Origin.of(query, query.get("position", "")) if is_own(request) else None
    if page.visit.note not in _AFTER_ADDING:  # otherwise the page is only loaded again
        seen = [calls.viewed(page.visit, page.agent, item)]
        page.track(*([calls.clicked(page.visit, page.agent, item, origin)] if origin else []), *seen)
    together = shelves.of(wanted[0])
    bundle = () if together is None or not known.available else together.items[:_BUNDLE]
    return page.show("product.html", product=known, shelves=shelves, origin=origin, bundle=bundle, together=together)


async def _product(page: Page, item: str) -> Product | None:
    try:
        return (await page.parts.api.products([item])).get(item)
    except ApiDownError:
        raise HTTPException(503, DOWN) from None


async def search(request: Request) -> Response:
    """Show products by words of their titles, or of a category."""
    page, query = Page.of(request), request.query_params
    text, category = _plain(query.get("q", "")), _plain(query.get("category", ""))
    offset = _offset(query.get("offset", ""))
    found, is_down = Found((), has_more=False), False
    try:
        found = await page.parts.api.search(text, category, offset, _PAGE)
    except ApiDownError:
        is_down = True
    following = offset + _PAGE if found.has_more and offset < _DEEPEST else None
    values = {"text": text, "category": category, "found": found, "following": following, "offset": offset}
    return page.show("search.html", 503 if is_down else 200, is_down=is_down, **values)


def _plain(text: str) -> str:
    """Return a text without control characters, not too long for the API."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()[:LONGEST_ID]


def _offset(text: str) -> int:
    return min(_DEEPEST, int(text)) if text.isascii() and text.isdigit() and len(text) < 6 else 0
