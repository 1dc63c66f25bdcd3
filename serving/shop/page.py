"""What each page works with: the request, the visit, the parts of the shop, and shelves."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from serving.http.safe_pages import form_token, read_form
from serving.shop.api import ApiDownError, Product, Shelf, ShopApi, Wanted
from serving.shop.calls import Call, CallQueue
from serving.shop.config import ShopConfig
from serving.shop.rendering import rendered
from serving.shop.visits import Visit, forget_note, keep, known_visit

_LONGEST_PATH: Final = 500
_MOST_BYTES: Final = 16_384
"""Forms of the shop are small."""


@dataclass(frozen=True)
class Parts:
    """What the start of the shop opens."""

    config: ShopConfig
    api: ShopApi
    calls: CallQueue


@dataclass(frozen=True)
class Page:
    """One request of a visitor."""

    request: Request
    parts: Parts
    visit: Visit
    is_new: bool
    """Whether the browser has no cookie of this shop yet."""

    @classmethod
    def of(cls, request: Request) -> "Page":
        """Return the page of a request."""
        parts: Parts = request.app.state.parts
        known = known_visit(request, parts.config.cookie_secret)
        return cls(request, parts, known or Visit.new(), known is None)

    @property
    def agent(self) -> str:
        """Return the user agent, by which the recommender leaves out robots."""
        return self.request.headers.get("user-agent", "")

    async def form(self) -> Mapping[str, str]:
        """Return the fields of the form. Raises HTTPException."""
        return await read_form(self.request, self._body, self.parts.config.cookie_secret, self.visit.nonce)

    async def _body(self) -> bytes:
        body = bytearray()
        async for chunk in self.request.stream():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise HTTPException(413, "The form is too large.")
        return bytes(body)

    def track(self, *calls: Call) -> None:
        """State what the visitor did, if the visitor agrees; otherwise nothing leaves the shop."""
        if self.visit.is_personal:
            for call in calls:
                self.parts.calls.put(call)

    def show(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return the page. A message for it is shown once.

        A form that another site sends arrives without the cookie; its answer sets none, which would replace the visit.
        """
        visit, secret = self.visit, self.parts.config.cookie_secret
        known = {"visit": visit, "token": form_token(secret, visit.nonce), "here": self._here}
        response = HTMLResponse(rendered(template, **known, **values), status)
        if self.is_new and self.request.method == "GET":
            keep(response, visit, secret, is_https=self.parts.config.is_https)
        if visit.note:
            forget_note(response)
        return response

    def go(self, path: str, visit: Visit) -> Response:
        """Return to a page of the shop with a changed visit."""
        response = RedirectResponse(path if is_local(path) else "/", 303)
        keep(response, visit, self.parts.config.cookie_secret, is_https=self.parts.config.is_https)
        return response

    @property
    def _here(self) -> str:
        """Return the address of this page, to which its forms return."""
        scope = self.request.scope  # as the browser wrote it: ids may have letters that stand for others in addresses
        query: bytes = scope["query_string"]
        here = (scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1")
        return here if self.request.method == "GET" and is_local(here) else "/"


def is_local(path: str) -> bool:
    """Return whether a path leads to a page of this shop."""
    starts_here = path.startswith("/") and path[1:2] not in ("/", "\\")
    return starts_here and len(path) <= _LONGEST_PATH and path.isascii() and path.isprintable()


_EVERYBODY: Final = "Recommended to everybody"
_FEWEST: Final = 3
"""Products without which a shelf looks abandoned, and is left out."""


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
    api = page.parts.api
    answers = await asyncio.gather(*(api.shelf(one, page.visit) for one in wanted))
    filled: dict[Wanted, tuple[Wanted, Shelf]] = {}
    shown = set[str]()
    for one, answer in sorted(zip(wanted, answers, strict=True), key=lambda pair: pair[0].spare):
        is_general = one.general is not None and not (answer and answer.is_personal)
        shelf = answer and answer.folded(one.k, shown)
        if shelf and len(shelf.items) >= _FEWEST and not (is_general and not one.general):
            filled[one] = replace(one, title=one.general) if is_general and one.general else one, shelf
            shown.update(item.title.casefold() for item in shelf.items)
    known: Mapping[str, Product] = {}
    with suppress(ApiDownError):
        known = await api.products([item.item_id for _, shelf in filled.values() for item in shelf.items])
    for one, (title, shelf) in filled.items():
        items = tuple(replace(item, product=known.get(item.item_id)) for item in shelf.items)
        filled[one] = title, replace(shelf, items=items)
    in_order = tuple(filled[one] for one in wanted if one in filled)
    return Shelves(in_order, any(answer is None or answer.is_old for answer in answers))


def home_shelves(visit: Visit) -> list[Wanted]:
    """Return the shelves of the first page."""
    general = [
        Wanted("Popular at the moment", "/v1/trending", spare=20, about="everybody"),
        BEST_SELLERS,
    ]
    if not visit.is_personal:
        return [Wanted(_EVERYBODY, "/v1/slots/home", spare=10), *general]
    personal = [Wanted("For you", "/v1/slots/home", spare=15, general=_EVERYBODY)]
    if visit.household is not None:
        personal.append(Wanted("Buy it again", "/v1/slots/buy-again", spare=5, general=""))
    return [*personal, *general]


BEST_SELLERS: Final = Wanted("Best sellers", "/v1/popular", spare=30, about="everybody")


def product_shelves(item: str) -> list[Wanted]:
    """Return what goes well with a product, and what is similar."""
    return [
        Wanted("Goes well with it", "/v1/slots/goes-well-with", (item,), 5, spare=5),
        Wanted("Similar products", "/v1/slots/similar-items", (item,), 10, spare=15),
    ]


def basket_shelf(items: tuple[str, ...]) -> Wanted:
    """Return what goes well with all products of a basket."""
    return Wanted("Goes well with your basket", "/v1/slots/goes-well-with", items, 10)
