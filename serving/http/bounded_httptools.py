"""The HTTP protocol of the API: uvicorn's fast one, with bounds on clients, and an end that loses no answer."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.http import IS_LAST

LATE_SECONDS: Final = 0.5
"""The time for which a client's late bytes are read and dropped."""


class HalfClosingTransport:
    """Closes a connection in two steps.

    A system that closes a connection with unread bytes sends a reset, and then the client may lose answers that it
    has not read yet. So the first step sends the end of the stream, and the second one follows when the client closed
    its side, or after `LATE_SECONDS`.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Wrap a transport; `write` stays its own method, because it runs for each answer."""
        self._transport, self._loop, self._ended = transport, loop, False
        self.write = transport.write

    def __getattr__(self, name: str) -> Any:
        """Return everything else from the transport."""
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Return whether no further answer can be sent."""
        return self._ended or self._transport.is_closing()

    def close(self) -> None:
        """End this side after all answers; close the connection soon."""
        if self._ended:
            return
        self._ended = True
        if self._transport.is_closing() or not self._transport.can_write_eof():
            self._transport.close()
            return
        with suppress(OSError, RuntimeError):  # the client has gone
            self._transport.write_eof()
            self._transport.resume_reading()
        self._loop.call_later(LATE_SECONDS, self._transport.close)


LARGEST_HEAD: Final = 65_536
"""Bytes of path and headers; the application refuses smaller heads with an explanation."""
_KEPT_URL: Final = 60_000
"""Bytes of an address that the application sees: more than it takes, and few enough for the parser of addresses."""
_TOO_LONG: Final = (414, "The path or the query is too long. Send many items in a body.")
_TOO_LARGE: Final = (431, "The headers are larger than the server accepts.")
SECONDS: Final = 10.0
"""The longest time that a new connection may take for its first request."""
LAST_SECONDS: Final = 0.3
"""The time for which a server that stops still reads an idle connection."""
CONNECTIONS: Final = 4096
"""Beyond this number a new connection is closed at once."""


class BoundedHttpToolsProtocol(HttpToolsProtocol):
    """Refuses heads that are too large or too slow, which uvicorn would wait for and keep in memory.

    All requests that were read are answered, also while the server stops.
    """

    _in_head = False
    _size = 0
    """Bytes that arrived while the head was incomplete."""
    _ends = False
    """Whether the server stops, and so reads no further request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection if there is room."""
        super().connection_made(HalfClosingTransport(transport, self.loop))  # type: ignore[arg-type]
        self._is_last_bound = self._is_last
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self.loop.call_later(SECONDS, self._close_if_idle)

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        self._in_head, self._size = True, 0
        super().on_message_begin()
        self.scope[IS_LAST] = self._is_last_bound  # type: ignore[typeddict-unknown-key]

    def on_url(self, url: bytes) -> None:
        """Keep the beginning of the address: the application refuses a long one."""
        super().on_url(url[: max(0, _KEPT_URL - len(self.url))])

    def on_headers_complete(self) -> None:
        """End the count: the application bounds bodies."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Read what arrived; the parser keeps an incomplete header in memory."""
        if self._is_read_out():
            return
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._size += len(data)
            if self._size > LARGEST_HEAD:
                self._refuse(*(_TOO_LARGE if len(self.url) < _KEPT_URL else _TOO_LONG))

    def _refuse(self, status: int, detail: str) -> None:
        """Answer for an incomplete head, unless earlier requests of the connection wait for answers."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
            return
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
        self.transport.write(f"{head}content-length: {len(detail)}\r\nconnection: close\r\n\r\n{detail}".encode())
        self.transport.close()

    def _is_last(self, scope: Mapping[str, Any]) -> bool:
        """Return whether no request behind this one was read."""
        return self.cycle is not None and self.cycle.scope is scope

    def _is_read_out(self) -> bool:
        """Return whether later bytes are dropped: the connection closes, or the server stops."""
        if self.transport.is_closing():
            return True
        cycle = self.cycle
        if cycle is None or cycle.more_body:
            return False
        busy = not cycle.response_complete
        return busy and (self._ends or (cycle.response_started and not cycle.keep_alive))

    def shutdown(self) -> None:
        """Answer all requests that were read, and one that an idle client may have sent already; then close."""
        self._ends = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LAST_SECONDS, self._close_if_unused)

    def on_response_complete(self) -> None:
        """Go on with the next request that was read; without one, a server that stops closes the connection."""
        super().on_response_complete()
        if self._ends:
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _close_if_idle(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.abort()
