"""Sends prepared requests over kept connections, and notes when each was answered."""

import asyncio
import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import orjson

from models.errors import TailorbirdError

_OK: Final = b"HTTP/1.1 200"
_CONSENT: Final = {"consent": {"categoryPreferences": {"Personalization": True}}}


class RefusedLoadError(TailorbirdError):
    """The server refused a request."""


@dataclass
class Sent:
    """The answers of a measurement."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds from the time at which a request was due until its answer."""

    @property
    def per_second(self) -> float:
        """Return the answers per second."""
        return len(self.latencies) / self.seconds

    def p99_ms(self) -> float:
        """Return the 99th percentile of the latencies."""
        return float(np.percentile(self.latencies, 99)) * 1000


def call(name: str, number: int) -> dict[str, object]:
    """Return a click as a library sends it."""
    product = {"product_id": f"item {number % 500}", "name": "A cup of stoneware", "price": 12.5, "currency": "EUR"}
    return {
        "type": "track",
        "event": "Product Clicked",
        "messageId": f"{name}-{number}",
        "userId": f"user {number % 5000}",
        "anonymousId": f"device {number % 5000}",
        "timestamp": "2026-11-01T10:00:00.000Z",
        "properties": product,
        "context": {"library": {"name": "analytics-python", "version": "2.4.0"}, **_CONSENT},
        "integrations": {},
    }


def batches(name: str, count: int, size: int) -> list[bytes]:
    """Return bodies with `size` calls each."""
    return [
        orjson.dumps({"batch": [call(name, number) for number in range(start, start + size)]})
        for start in range(0, count, size)
    ]


def singles(name: str, count: int) -> list[bytes]:
    """Return bodies with one call each."""
    return [orjson.dumps(call(name, number)) for number in range(count)]


async def send(
    address: str, path: str, key: str, bodies: Sequence[bytes], connections: int, rate: float | None = None
) -> Sent:
    """Send all bodies once, as fast as the connections allow or at a constant rate. Raises RefusedLoadError."""
    place = urlsplit(address)
    login = base64.b64encode(f"{key}:".encode()).decode()
    head = f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Basic {login}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: "
    waiting, sent, began = iter(enumerate(bodies)), Sent(), time.perf_counter()

    async def work() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        for number, body in waiting:
            due = began + number / rate if rate else time.perf_counter()
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            if not answer.startswith(_OK):
                raise RefusedLoadError(f"The server answered {answer[:60]!r}.")
            sent.latencies.append(time.perf_counter() - due)
        writer.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    sent.seconds = time.perf_counter() - began
    return sent
