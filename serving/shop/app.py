"""Puts the storefront together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.safe_pages import HEADERS, PRIVATE, STORED
from serving.shop import pages
from serving.shop.api import PICTURES, ShopApi
from serving.shop.calls import CallQueue
from serving.shop.config import ShopConfig
from serving.shop.page import Page, Parts, home_shelves
from serving.shop.rendering import compile_templates
from serving.shop.visits import Visit

_CONNECTIONS: Final = httpx.Limits(max_connections=64, max_keepalive_connections=64)
_TRIES, _BETWEEN_SECONDS = 12, 0.25
_FILES: Final = ("/static/", PICTURES)
_FOUND: Final = (200, 304)
"""Other answers for a file are pages, with the token of a visitor."""


class SafeHeaders:
    """Sends the headers with every answer. Pages are for one visitor, so nobody may store them, unlike files."""

    def __init__(self, app: ASGIApp) -> None:
        """Answer with `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                is_file = scope["path"].startswith(_FILES) and message["status"] in _FOUND
                headers.update(STORED if is_file else PRIVATE)
            await send(message)

        await self._app(scope, receive, safe)


def shop_app(config: ShopConfig, transport: httpx.AsyncBaseTransport | None = None) -> Starlette:
    """Return the application. It opens its connections when the server starts; `transport` replaces the network."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        own = partial(httpx.AsyncClient, base_url=config.api, limits=_CONNECTIONS, transport=transport, trust_env=False)
        shopper = {"authorization": f"Bearer {config.key}"}
        async with own(headers=shopper) as reader, own() as sender:
            api, calls = ShopApi(reader, config, sender), CallQueue(sender, config.collect_key)
            await asyncio.gather(asyncio.to_thread(compile_templates), _first_shelves(api))
            app.state.parts = Parts(config, api, calls)
            async with calls.running():
                yield

    return Starlette(
        routes=_routes(),
        lifespan=lifespan,
        middleware=[Middleware(SafeHeaders), Middleware(TrustedHostMiddleware, allowed_hosts=list(config.hosts))],
        exception_handlers={HTTPException: _failed, Exception: _failed},
    )


async def _first_shelves(api: ShopApi) -> None:
    """Remember shelves in case of an outage. The API may take a moment until it knows a new key."""
    nobody = Visit.new()
    for _ in range(_TRIES):
        if all(await asyncio.gather(*(api.shelf(wanted, nobody) for wanted in home_shelves(nobody)))):
            return
        await asyncio.sleep(_BETWEEN_SECONDS)


def _routes() -> list[Route | Mount]:
    posts = {
        "/basket/add": pages.add,
        "/basket/change": pages.change,
        "/basket/buy": pages.buy,
        "/not-interested": pages.not_interested,
        "/privacy": pages.decide,
        "/privacy/copy": pages.ask_for_copy,
        "/privacy/erase": pages.erase,
        "/sign-in": pages.sign_in,
        "/sign-out": pages.sign_out,
    }
    gets = {
        "/": pages.home,
        "/products/{item:path}": pages.product,
        "/pictures/{item:path}": pages.picture,
        "/search": pages.search,
        "/basket": pages.basket,
        "/privacy": pages.privacy,
        "/privacy/my-data.zip": pages.copy,
        "/sign-in": pages.sign_in_page,
        "/livez": _alive,
        "/operator{rest:path}": _operators,
    }
    return [
        *(Route(path, endpoint, methods=["GET"]) for path, endpoint in gets.items()),
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in posts.items()),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
    ]


async def _alive(_: Request) -> Response:
    return PlainTextResponse("ok")


async def _operators(request: Request) -> Response:
    """Lead to the page of operators, which was here once. It belongs to the API."""
    parts: Parts = request.app.state.parts
    return RedirectResponse(f"{parts.config.api}/operator", 303)


async def _failed(request: Request, error: Exception) -> Response:
    """Show what went wrong, without details of a defect; the log has them."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    phrase = HTTPStatus(status).phrase
    text = (
        "There is no such page or product."
        if status == 404
        else "This is a defect of the shop. Its log has the details."
    )
    if detail and detail != phrase:
        text = detail
    page = Page.of(request).show("error.html", status, heading=phrase, text=text)
    page.headers.update({**HEADERS, **PRIVATE})  # after a defect no middleware adds them
    return page
