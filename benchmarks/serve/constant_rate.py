"""Sends requests at a constant rate, and measures each from the moment at which it was due.

A server that stops for a while delays all requests that are due meanwhile, and their waits count (no coordinated
omission). The client shares the processors with the server, so it does as little as possible: it sends bytes that were
rendered before, and of an answer it reads the status and the length.
"""

import asyncio
import gc
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit

import uvloop

from benchmarks.serve.load import Load, LoadError

_TICK: Final = 0.001
_PATIENCE: Final = 10.0
"""Seconds after the last request in which all answers have to arrive."""
_LENGTH: Final = b"content-length:"
_END: Final = b"\r\n\r\n"


@dataclass(frozen=True)
class Latency:
    """Seconds from the moments at which requests were due to the ends of their answers, ascending."""

    seconds: Sequence[float]
    meant: int
    """Answers that were meant."""

    def quantile_ms(self, q: float) -> float:
        """Return the latency in ms that a share `q` of the requests did not exceed."""
        return self.seconds[min(len(self.seconds) - 1, int(q * len(self.seconds)))] * 1000


def latency(load: Load, rate: float, seconds: float, warm_up: float = 2.0) -> Latency:
    """Return the latencies at a constant rate per second, after the same load for `warm_up` seconds.

    Raises LoadError if an answer is not a success, or does not arrive.
    """
    client = _Client(load, [_rendered(load, path) for path in load.paths])
    gc.collect()
    gc.disable()
    try:
        return uvloop.run(client.run(rate, warm_up, seconds))
    finally:
        gc.enable()


def _rendered(load: Load, path: str) -> bytes:
    body = (load.body or "").encode()
    lines = [f"{load.method} {path} HTTP/1.1", f"Host: {urlsplit(load.address).netloc}"]
    lines += [f"{name}: {text}" for name, text in load.headers.items()]
    lines += [f"Content-Length: {len(body)}"] if load.body is not None else []
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class _Client:
    load: Load
    requests: Sequence[bytes]
    idle: "deque[_Connection]" = field(default_factory=deque)
    waiting: deque[float] = field(default_factory=deque)
    """Due moments of requests for which no connection was free."""
    taken: list[float] = field(default_factory=list)
    fault: str = ""
    sent: int = 0
    meant: int = 0

    async def run(self, rate: float, warm_up: float, seconds: float) -> Latency:
        """Open the connections and send; the latencies of the warm-up are left out."""
        place, loop = urlsplit(self.load.address), asyncio.get_running_loop()
        opened = [
            await loop.create_connection(lambda: _Connection(self), str(place.hostname), int(place.port or 80))
            for _ in range(self.load.connections)
        ]
        try:
            await self._send(rate, warm_up)
            self.taken.clear()
            self.meant = 0
            await self._send(rate, seconds)
        finally:
            for transport, _ in opened:
                transport.abort()
        return Latency(sorted(self.taken), self.meant)

    async def _send(self, rate: float, seconds: float) -> None:
        began, due, number = perf_counter(), 0, int(rate * seconds)
        while due < number and not self.fault:
            now = perf_counter()
            while due < number and began + due / rate <= now:
                self.waiting.append(began + due / rate)
                due += 1
            self.send_waiting()
            await asyncio.sleep(_TICK)
        until = perf_counter() + _PATIENCE
        while len(self.taken) < number and not self.fault:
            if perf_counter() > until:
                self.fault = f"{number - len(self.taken)} of {number} answers did not arrive"
            await asyncio.sleep(_TICK)
        if self.fault:
            raise LoadError(f"{self.load.address} at {rate:.0f} requests a second: {self.fault}.")

    def send_waiting(self) -> None:
        """Send what is due on the connections that are free, each in its turn."""
        while self.waiting and self.idle:
            self.idle.popleft().send(self.requests[self.sent % len(self.requests)], self.waiting.popleft())
            self.sent += 1


class _Connection(asyncio.Protocol):
    def __init__(self, client: _Client) -> None:
        self._client, self._due, self._data = client, 0.0, b""
        self._transport: Any = None  # uvloop's transports have no class of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._client.idle.append(self)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        head = self._data.find(_END)
        if head < 0 or len(self._data) < head + len(_END) + _length(self._data[:head]):
            return
        if self._data[9:10] != b"2":
            self._client.fault = f"an answer was {self._data[:300]!r}"
        self._client.meant += self._client.load.meant in self._data
        self._data = b""
        self._client.taken.append(perf_counter() - self._due)
        self._client.idle.append(self)
        if self._client.waiting:
            self._client.send_waiting()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._client.fault = self._client.fault or "the server closed a connection"


def _length(head: bytes) -> int:
    begins = head.lower().find(_LENGTH)
    return int(head[begins + len(_LENGTH) :].split(b"\r\n", 1)[0]) if begins >= 0 else 0
