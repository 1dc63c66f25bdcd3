"""An HTTP protocol for uvicorn that bounds how many connections clients hold, and for how long."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS: Final = 64
"""Beyond this number the oldest connection is closed."""
SECONDS: Final = 10.0
"""The longest time that a connection may take for its first request."""


class BoundedProtocol(H11Protocol):
    """Closes clients that send no request, and the oldest connection when there are too many.

    uvicorn's own `--limit-concurrency` refuses new clients instead, and it counts idle ones forever.
    """

    opened = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection and make room for it."""
        super().connection_made(transport)
        self.opened = self.loop.time()
        self.loop.call_later(SECONDS, self._close_if_idle)
        if len(self.connections) > CONNECTIONS:
            oldest: Any = min(self.connections, key=lambda connection: getattr(connection, "opened", 0.0))
            self.connections.discard(oldest)
            oldest.transport.abort()

    def _close_if_idle(self) -> None:
        if self.cycle is None:
            self.transport.abort()
