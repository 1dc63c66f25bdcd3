"""The HTTP protocol of the API: uvicorn's fast one, with bounds on what a client may send before its request starts."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD: Final = 65_536
"""Bytes of path and headers; the application refuses smaller heads with an explanation."""
SECONDS: Final = 10.0
"""The longest time that a new connection may take for its first request."""
LAST_SECONDS: Final = 0.3
"""The time for which a server that stops still reads an idle connection."""
CONNECTIONS: Final = 4096
"""Beyond this number a new connection is closed at once."""


class BoundedHttpToolsProtocol(HttpToolsProtocol):
    """Closes connections whose head is too large or too slow, which uvicorn would wait for and keep in memory."""

    _in_head = False
    _size = 0
    """Bytes that arrived while the head was incomplete."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection if there is room."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self.loop.call_later(SECONDS, self._close_if_idle)

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        self._in_head, self._size = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """End the count: the application bounds bodies."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Read what arrived; the parser keeps an incomplete header in memory."""
        super().data_received(data)
        if self._in_head:
            self._size += len(data)
            if self._size > LARGEST_HEAD:
                self.transport.abort()

    def shutdown(self) -> None:
        """End the connection after a request that the client may have sent already; its answer closes it."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LAST_SECONDS, self._close_if_unused)
        else:
            self.cycle.keep_alive = False

    def _close_if_unused(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _close_if_idle(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.abort()
