"""Adds the headers that keep foreign scripts, frames and hosts out of the pages."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_CACHE: Final = "cache-control"
PRIVATE: Final = {_CACHE: "private, no-store"}
_FILES: Final = "/static/"
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
                headers.update({_CACHE: "max-age=3600"} if is_file else PRIVATE)
            await send(message)

        await self._app(scope, receive, safe)
