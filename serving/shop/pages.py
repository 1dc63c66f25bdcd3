"""The pages for looking around, the basket, and what visitors decide."""

import asyncio
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.http.safe_pages import is_own
from serving.shop import calls
from serving.shop.api import ApiDownError, Product
from serving.shop.calls import Origin
from serving.shop.page import BEST_SELLERS, Page, basket_shelf, fill, home_shelves, product_shelves
from serving.shop.visits import LONGEST_ID, MOST_LINES, MOST_OF_ONE, Visit, forget, is_id

_PAGE: Final = 24
_DEEPEST: Final = 9_600
_BUNDLE: Final = 2
"""The products that a bundle adds to the one of the page."""


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
    if page.visit.note not in ("added", "full"):  # otherwise the page is only loaded again
        seen = [calls.viewed(page.visit, page.agent, item)]
        page.track(*([calls.clicked(page.visit, page.agent, item, origin)] if origin else []), *seen)
    together = shelves.of(wanted[0])
    bundle = () if together is None or not known.available else together.items[:_BUNDLE]
    return page.show("product.html", product=known, shelves=shelves, origin=origin, bundle=bundle, together=together)


async def _product(page: Page, item: str) -> Product | None:
    try:
        return (await page.parts.api.products([item])).get(item)
    except ApiDownError:
        raise HTTPException(
            503, "The recommender does not answer at the moment, and with it the catalogue. Try again in a minute."
        ) from None


async def picture(request: Request) -> Response:
    """Return the picture of a product, so that its page loads nothing from another host."""
    found = await Page.of(request).parts.api.picture(request.path_params["item"])
    if found is None:
        raise HTTPException(404)
    return Response(found[0], media_type=found[1])


async def search(request: Request) -> Response:
    """Show products by words of their titles, or of a category."""
    page, query = Page.of(request), request.query_params
    text, category = _plain(query.get("q", "")), _plain(query.get("category", ""))
    offset = _offset(query.get("offset", ""))
    products, has_more, is_down = list[Product](), False, False
    try:
        products, has_more = await page.parts.api.search(text, category, offset, _PAGE)
    except ApiDownError:
        is_down = True
    following = offset + _PAGE if has_more and offset < _DEEPEST else None
    shelves = await fill(page, [] if products or is_down else [BEST_SELLERS])
    values = {"text": text, "category": category, "products": products, "following": following, "offset": offset}
    return page.show("search.html", 503 if is_down else 200, is_down=is_down, shelves=shelves, **values)


def _plain(text: str) -> str:
    """Return a text without control characters, not too long for the API."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()[:LONGEST_ID]


def _offset(text: str) -> int:
    return min(_DEEPEST, int(text)) if text.isascii() and text.isdigit() and len(text) < 6 else 0


Picked = tuple[str, Origin | None]
_UNREADABLE: Final = "The form names no product."


async def basket(request: Request) -> Response:
    """Show the basket, and what goes well with it."""
    page = Page.of(request)
    items = page.visit.items
    wanted = [basket_shelf(items)] if items else []
    known, shelves = await asyncio.gather(_products(page, items), fill(page, wanted))
    lines = [(line.item, line.number, known.get(line.item)) for line in page.visit.basket]
    order, total = secrets.token_hex(8), _total(lines)
    return page.show("basket.html", lines=lines, total=total, most=MOST_OF_ONE, shelves=shelves, order=order)


def _total(lines: Sequence[tuple[str, int, Product | None]]) -> tuple[float, str | None] | None:
    """Return the price of all lines and its currency; None if a price is unknown, or in another currency."""
    priced = [(number * one.price, one.currency) for _, number, one in lines if one and one.price is not None]
    currencies = {currency for _, currency in priced}
    if len(priced) < len(lines) or len(currencies) != 1:
        return None
    return sum(price for price, _ in priced), currencies.pop()


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


async def change(request: Request) -> Response:
    """Change the quantity of a product in the basket, or take it out."""
    page = Page.of(request)
    fields = await page.form()
    item, number = fields.get("item", ""), "0" if "remove" in fields else fields.get("number", "")
    if not re.fullmatch(r"[0-9]{1,2}", number):
        raise HTTPException(400, f"The quantity is no number up to {MOST_OF_ONE}.")
    if item in page.visit.items and not int(number):
        page.track(calls.removed(page.visit, page.agent, item))
    return page.go("/basket", page.visit.changed(item, int(number)))


async def buy(request: Request) -> Response:
    """Buy what is in the basket, as far as a demo can. The form has a number of its own: two clicks are one order."""
    page = Page.of(request)
    order = (await page.form()).get("order", "")
    if not re.fullmatch(r"[0-9a-f]{16}", order):
        raise HTTPException(400, "The form has no number of an order. Open the basket again and repeat.")
    if not page.visit.basket:
        return page.go("/basket", page.visit)
    page.track(calls.bought(page.visit, page.agent, order, await _products(page, page.visit.items)))
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


async def privacy(request: Request) -> Response:
    """Show what the shop stores and states, and the choices."""
    page = Page.of(request)
    number = page.visit.copy
    return page.show("privacy.html", has_copy=number is not None and await page.parts.api.has_copy(number))


_ERASED: Final = "No shelf depends on you any more, and this browser keeps nothing of the shop."


async def ask_for_copy(request: Request) -> Response:
    """Ask for a copy of the data of the household that is signed in."""
    page = Page.of(request)
    await page.form()
    number = await _asked(page, "export")
    return page.go("/privacy", replace(page.visit, copy=number, note="copy"))


async def copy(request: Request) -> Response:
    """Return the copy that this browser asked for."""
    page = Page.of(request)
    content = None
    with suppress(ApiDownError):
        content = None if page.visit.copy is None else await page.parts.api.copy(page.visit.copy)
    if content is None:
        raise HTTPException(404, "There is no copy of your data yet, or no longer. Ask for it under “Privacy”.")
    named = {"content-disposition": 'attachment; filename="my-data.zip"'}
    return Response(content, media_type="application/zip", headers=named)


async def erase(request: Request) -> Response:
    """Erase the household that is signed in. The browser keeps nothing afterwards."""
    page = Page.of(request)
    await page.form()
    await _asked(page, "erase")
    response = replace(page, visit=Visit.new()).show(
        "error.html", heading="Your household is erased", text=_ERASED, is_privacy=True
    )
    forget(response)
    return response


async def _asked(page: Page, kind: Literal["export", "erase"]) -> int:
    """Make a request for the household that is signed in; returns its number."""
    if page.visit.household is None:
        raise HTTPException(403, "Sign in first: the shop has to know whose data they are.")
    try:
        return await page.parts.api.ask(kind, page.visit.household)
    except ApiDownError:
        raise HTTPException(503, "The recommender does not answer at the moment. Try again in a minute.") from None


async def decide(request: Request) -> Response:
    """Take the answer about personal shelves. A withdrawal counts from the next page on, also in the recommender."""
    page = Page.of(request)
    fields = await page.form()
    agrees = {"yes": True, "no": False}.get(fields.get("answer", ""))
    if agrees is None:
        raise HTTPException(400, "The form holds no answer.")
    changed = page.visit.agreeing() if agrees else page.visit.refusing()
    who = changed if agrees else page.visit
    if agrees or page.visit.is_personal or who.household is not None:
        for call in calls.answered(who, page.agent, agrees=agrees):
            page.parts.calls.put(call)
        if not await page.parts.calls.sent(page.parts.config.budget_seconds) and not agrees:
            changed = replace(changed, note="refused-here")
    return page.go(fields.get("back", "/"), changed)


async def sign_in_page(request: Request) -> Response:
    """Show the households of the demo."""
    page = Page.of(request)
    return page.show("sign_in.html", households=page.parts.config.households)


async def sign_in(request: Request) -> Response:
    """Become a household. Clicks of this browser become those of the household."""
    page = Page.of(request)
    household = (await page.form()).get("household", "").strip()
    if not is_id(household):
        raise HTTPException(400, "The form names no household.")
    changed = page.visit.signed_in(household)
    page.track(calls.signed_in(changed, page.agent))
    return page.go("/", changed)


async def sign_out(request: Request) -> Response:
    """Become nobody again. The next person is asked about personal shelves."""
    page = Page.of(request)
    await page.form()
    return page.go("/", page.visit.signed_out())


async def not_interested(request: Request) -> Response:
    """Hide a product from all shelves of the visitor."""
    page = Page.of(request)
    fields = await page.form()
    ((item, origin), *_) = picks(fields)
    is_durable = False
    if page.visit.is_personal:
        is_durable = await page.parts.api.hide(page.visit, item, {} if origin is None else origin.stated())
    return page.go(fields.get("back", "/"), page.visit.hiding(item, "hidden" if is_durable else "hidden-here"))
