"""The storefront in this process, before the real API with a service from memory."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from serving.api.assembly import build_app
from serving.shop.app import shop_app
from serving.shop.config import ShopConfig
from tests.serving.api.fakes import FakeAnswers, FakeEvents, new_key, state_of

ORDER = "0123456789abcdef"
_TOKEN = re.compile(r'name="token" value="([0-9a-f]{64})"')


def shown(text: str) -> list[str]:
    """Return the items on the shelves of a page."""
    return re.findall(r'<li data-item="([^"]+)"', text)


def bought(text: str) -> list[str]:
    """Return the items in a basket."""
    return re.findall(r'name="item" value="([^"]+)"', text)


def titles(text: str) -> list[str]:
    return re.findall(r'<h2 id="shelf-\d+">([^<]+)</h2>', text)


class Network(httpx.AsyncBaseTransport):
    """The network between shop and API, which can break and be slow."""

    def __init__(self, api: httpx.AsyncBaseTransport) -> None:
        self._api = api
        self.is_down = False
        self.slow_paths: tuple[str, ...] = ()
        self.requests: list[httpx.Request] = []
        self.pictures: dict[str, httpx.Response] = {}
        """Answers of other hosts, by address."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.is_down:
            raise httpx.ConnectError("refused")
        if str(request.url) in self.pictures:
            return self.pictures[str(request.url)]
        if request.url.path in self.slow_paths:
            await asyncio.sleep(30)
        return await self._api.handle_async_request(request)

    def queries(self) -> list[dict[str, str]]:
        """Return path and parameters of all requests for lists."""
        return [{"path": one.url.path, **one.url.params} for one in self.requests if one.method == "GET"]


@dataclass
class Storefront:
    """A browser's view of the shop, and what happens behind it."""

    browser: TestClient
    network: Network
    answers: FakeAnswers
    events: FakeEvents
    config: ShopConfig

    def get(self, path: str = "/", status: int = 200) -> str:
        answer = self.browser.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def post(self, path: str, **fields: str) -> httpx.Response:
        """Send a form of the first page, as a browser does."""
        found = _TOKEN.search(self.get("/sign-in"))
        assert found
        return self.browser.post(path, data={"token": found[1], **fields}, follow_redirects=False)

    def offer(self, *items: str) -> None:
        """Answer with these items from now on."""
        self.answers.items = items
        self.answers._made.clear()

    def agree(self) -> None:
        assert self.post("/privacy", answer="yes").status_code == 303

    def stated(self) -> list[dict[str, Any]]:
        """Return the payloads of all calls that the collector has, once none waits any more."""
        calls = self.browser.app.state.parts.calls  # type: ignore[attr-defined]
        assert self.browser.portal is not None
        assert self.browser.portal.call(calls.sent, 5.0)
        return [message.payload for message in self.events.messages if message.kind == "call"]


@pytest.fixture
def storefront() -> Iterator[Storefront]:
    (key, known), (collect_key, collector) = new_key("read", "write", "privacy"), new_key("collect")
    answers, events = FakeAnswers(), FakeEvents()
    network = Network(httpx.ASGITransport(build_app(state_of([known, collector], answers, events))))
    households, hosts, pictures = ("1", "2"), ("testserver",), ("https://cdn.example/",)
    config = ShopConfig("http://api", key, collect_key, b"secret", households, hosts, False, 5.0, pictures)
    with TestClient(shop_app(config, network), raise_server_exceptions=False) as browser:
        yield Storefront(browser, network, answers, events, config)
