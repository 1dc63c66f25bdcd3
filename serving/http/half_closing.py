"""A transport that ends its own side of a connection first: a client that still sends reads all answers."""

import asyncio
from contextlib import suppress
from typing import Any, Final

IS_LAST: Final = "tailorbird.is_last"
"""The entry of an ASGI scope with a function that returns whether no later request of the connection was read."""
SECONDS: Final = 0.5
"""The time for which a client's late bytes are read and dropped."""


class HalfClosingTransport:
    """Closes a connection in two steps.

    A system that closes a connection with unread bytes sends a reset, and then the client may lose answers that it
    has not read yet. So the first step sends the end of the stream, and the second one follows when the client closed
    its side, or after `SECONDS`.
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
        self._loop.call_later(SECONDS, self._transport.close)
