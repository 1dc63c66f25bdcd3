"""States the load of a measurement; saturates a server with it by wrk, or sends it at a constant rate.

Wrk is another process. At a constant rate each request is measured from the moment at which it was due: a server that
stops for a while delays all requests that are due meanwhile, and their waits count (no coordinated omission). The
client shares the processors with the server, so it does as little as possible: it sends bytes that were rendered
before, and of an answer it reads the status and the length.
"""

import asyncio
import gc
import json
import math
import re
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit

import uvloop

from models.errors import TailorbirdError

_LUA: Final = """
local requests, at = {}, 0
init = function()
  for line in io.lines("FILE") do requests[#requests + 1] = wrk.format("METHOD", line, HEADERS, BODY) end
end
request = function() at = at % #requests + 1; return requests[at] end
"""
_TICK: Final = 0.001
_PATIENCE: Final = 10.0
"""Seconds without an answer, once all requests are sent, after which the others are missing."""
_LENGTH: Final = b"content-length:"
_END: Final = b"\r\n\r\n"


class LoadError(TailorbirdError):
    """A tool is missing, or a server refused a part of the load."""


@dataclass(frozen=True)
class Load:
    """Requests that are sent in turn."""

    address: str
    paths: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    """The body of each request, which is a POST then."""
    connections: int = 32
    meant: bytes = b""
    """A part of the answers that are meant: an overloaded server gives others."""

    @property
    def method(self) -> str:
        """Return the method of all requests."""
        return "GET" if self.body is None else "POST"

    def requests(self) -> list[bytes]:
        """Return the bytes of each request."""
        body = (self.body or "").encode()
        lines = [f"Host: {urlsplit(self.address).netloc}", *(f"{name}: {text}" for name, text in self.headers.items())]
        lines += [f"Content-Length: {len(body)}"] if self.body is not None else []
        rest = "\r\n".join([*lines, "", ""]).encode() + body
        return [f"{self.method} {path} HTTP/1.1\r\n".encode() + rest for path in self.paths]


@dataclass(frozen=True)
class Latency:
    """Seconds from the moments at which requests were due to the ends of their answers, ascending."""

    seconds: Sequence[float]
    meant: int = 0
    """Answers that were meant."""
    took: float = 0.0
    """Seconds from the first request to the last answer."""

    def quantile_ms(self, q: float) -> float:
        """Return the latency in ms that a share `q` of the requests did not exceed."""
        return self.seconds[min(len(self.seconds) - 1, int(q * len(self.seconds)))] * 1000


def saturation(load: Load, seconds: int) -> float:
    """Return the answers per second of a server that always has requests waiting (wrk). Raises LoadError."""
    with tempfile.TemporaryDirectory() as folder:
        paths, script = Path(folder) / "paths", Path(folder) / "requests.lua"
        paths.write_text("\n".join(load.paths) + "\n")
        headers = ", ".join(f"[{json.dumps(name)}]={json.dumps(text)}" for name, text in load.headers.items())
        values = {"FILE": str(paths), "METHOD": load.method, "HEADERS": f"{{{headers}}}"}
        values["BODY"] = json.dumps(load.body or "")
        script.write_text(re.sub("FILE|METHOD|HEADERS|BODY", lambda match: values[match[0]], _LUA))
        arguments = f"-t1 -c{load.connections} -d{seconds}s --timeout 30s -s {script}".split()
        command = [_wrk(), *arguments, load.address]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise LoadError(f"wrk failed: {done.stderr.strip()[-500:]}")
    if refused := re.search(r"Non-2xx or 3xx responses: \d+|Socket errors: .*", done.stdout):
        raise LoadError(f"{load.address} did not answer a part of the load: {refused[0]}.")
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", done.stdout)[0])


def _wrk() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise LoadError("wrk is not installed. On Debian: apt-get install wrk")
    return found


def latency(load: Load, rate: float, seconds: float, warm_up: float = 2.0) -> Latency:
    """Return the latencies at a constant rate per second, after the same load for `warm_up` seconds.

    Raises LoadError if an answer is not a success, or does not arrive.
    """
    return _run(load, load.requests(), rate, (int(rate * warm_up), int(rate * seconds)))


def send(loads: Sequence[Load], rate: float = math.inf) -> Latency:
    """Send the requests of all loads once, as fast as the connections of the first allow, or at a constant rate."""
    requests = [request for load in loads for request in load.requests()]
    return _run(loads[0], requests, rate, [len(requests)])


def _run(load: Load, requests: Sequence[bytes], rate: float, numbers: Sequence[int]) -> Latency:
    gc.collect()
    gc.disable()
    try:
        return uvloop.run(_Client(load, requests).run(rate, numbers))
    finally:
        gc.enable()


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

    async def run(self, rate: float, numbers: Sequence[int]) -> Latency:
        """Open the connections, and send so many requests in each round; return the latencies of the last round."""
        place, loop = urlsplit(self.load.address), asyncio.get_running_loop()
        opened = [
            await loop.create_connection(lambda: _Connection(self), str(place.hostname), int(place.port or 80))
            for _ in range(self.load.connections)
        ]
        try:
            for number in numbers:
                self.taken.clear()
                self.meant, began = 0, perf_counter()
                await self._send(rate, number)
        finally:
            for transport, _ in opened:
                transport.abort()
        return Latency(sorted(self.taken), self.meant, perf_counter() - began)

    async def _send(self, rate: float, number: int) -> None:
        began, due = perf_counter(), 0
        while due < number and not self.fault:
            now = perf_counter()
            while due < number and began + due / rate <= now:
                self.waiting.append(began + due / rate)
                due += 1
            self.send_waiting()
            await asyncio.sleep(_TICK)
        answered, since = 0, perf_counter()
        while len(self.taken) < number and not self.fault:
            if len(self.taken) > answered:
                answered, since = len(self.taken), perf_counter()
            elif perf_counter() - since > _PATIENCE:
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
