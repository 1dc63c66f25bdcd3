"""What each page works with: the request, the visit, and the parts of the shop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from serving.http.safe_pages import form_token, read_form
from serving.shop.client.api import ShopApi
from serving.shop.config import ShopConfig
from serving.shop.events.call_queue import CallQueue
from serving.shop.events.calls import Call
from serving.shop.pages.rendering import rendered
from serving.shop.visits.cookie import forget_note, keep, known_visit
from serving.shop.visits.visit import Visit

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
