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
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from serving.shop.client.api import ShopApi
from serving.shop.config import ShopConfig
from serving.shop.events.call_queue import CallQueue
from serving.shop.operators.routes import operator_parts, operator_routes
from serving.shop.pages import baskets, browsing, choices
from serving.shop.pages.page import Page, Parts
from serving.shop.pages.rendering import compile_templates
from serving.shop.pages.shelves import home_shelves
from serving.shop.security.headers import HEADERS, PRIVATE, SafeHeaders
from serving.shop.visits.visit import Visit

_STATIC: Final = Path(__file__).parent / "static"
_CONNECTIONS: Final = httpx.Limits(max_connections=64, max_keepalive_connections=64)
_TRIES, _BETWEEN_SECONDS = 12, 0.25
_NOT_HERE: Final = "There is no such page or product."


def shop_app(config: ShopConfig, transport: httpx.AsyncBaseTransport | None = None) -> Starlette:
    """Return the application. It opens its connections when the server starts; `transport` replaces the network."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        own = partial(httpx.AsyncClient, base_url=config.api, limits=_CONNECTIONS, transport=transport, trust_env=False)
        shopper = {"authorization": f"Bearer {config.key}"}
        async with own(headers=shopper) as reader, own() as sender, own() as operator:
            api, calls = ShopApi(reader, config.budget_seconds), CallQueue(sender, config.collect_key)
            await asyncio.gather(asyncio.to_thread(compile_templates), _first_shelves(api))
            app.state.parts = Parts(config, api, calls)
            if config.operators is not None:
                app.state.operators = operator_parts(config.operators, operator, is_https=config.is_https)
            async with calls.running():
                yield

    return Starlette(
        routes=[*(operator_routes() if config.operators else ()), *_routes()],
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
        "/basket/add": baskets.add,
        "/basket/remove": baskets.remove,
        "/basket/buy": baskets.buy,
        "/not-interested": choices.not_interested,
        "/privacy": choices.decide,
        "/sign-in": choices.sign_in,
        "/sign-out": choices.sign_out,
    }
    gets = {
        "/": browsing.home,
        "/products/{item:path}": browsing.product,
        "/search": browsing.search,
        "/basket": baskets.basket,
        "/privacy": choices.privacy,
        "/sign-in": choices.sign_in_page,
        "/livez": _alive,
    }
    return [
        *(Route(path, endpoint, methods=["GET"]) for path, endpoint in gets.items()),
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in posts.items()),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]


async def _alive(_: Request) -> Response:
    return PlainTextResponse("ok")


async def _failed(request: Request, error: Exception) -> Response:
    """Show what went wrong, without details of a defect; the log has them."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    phrase = HTTPStatus(status).phrase
    text = _NOT_HERE if status == 404 else "This is a defect of the shop. Its log has the details."
    if detail and detail != phrase:
        text = detail
    page = Page.of(request).show("error.html", status, heading=phrase, text=text)
    page.headers.update({**HEADERS, **PRIVATE})  # after a defect no middleware adds them
    return page
