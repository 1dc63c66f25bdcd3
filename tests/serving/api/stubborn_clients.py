"""Clients that send requests until a server is gone. Each counts its answers, and fails if one is cut."""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

PATH = "/v1/users/7/recommendations"
FEEDBACK = b'{"kind":"click","item_id":"item-1","user":"7"}'
_LENGTH = re.compile(rb"content-length: (\d+)")


@dataclass
class Clients:
    """Clients of one server, with what they received."""

    address: str
    key: str
    answers: Counter[str] = field(default_factory=Counter)
    """By the kind of client."""
    asked_to_close: Counter[str] = field(default_factory=Counter)
    """The answers among them that end their connection."""
    statuses: set[int] = field(default_factory=set)

    async def pool(self) -> None:
        """Use a pool of connections, as an application does; go on with new ones until they are refused."""
        async with httpx.AsyncClient(base_url=self.address, headers={"x-api-key": self.key}) as client:

            async def send() -> None:
                while True:
                    try:
                        answer = await client.get(PATH)
                    except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
                        return  # the caller compares the answers with the requests that the server began
                    self._count("pool", answer.status_code, closes=answer.headers.get("connection") == "close")

            await asyncio.gather(*(send() for _ in range(4)))

    async def serial(self) -> None:
        """Send the next request on the same connection after each answer, whatever the answer asks for."""
        reader, writer = await self._connect()
        while True:
            writer.write(self._get())
            if not await self._answered("serial", reader):
                writer.close()
                return

    async def pipelined(self) -> None:
        """Keep twenty requests on the way."""
        reader, writer = await self._connect()
        writer.write(self._get() * 20)
        while await self._answered("pipelined", reader):
            writer.write(self._get())
        writer.close()

    async def slow_body(self, go_on: asyncio.Event) -> None:
        """Send one body in two parts."""
        reader, writer = await self._connect()
        more = f"content-type: application/json\r\ncontent-length: {len(FEEDBACK)}\r\n"
        writer.write(self._head("POST", "/v1/feedback", more) + FEEDBACK[:10])
        await go_on.wait()
        writer.write(FEEDBACK[10:])
        assert await self._answered("slow body", reader)
        assert not await self._answered("slow body", reader)
        writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = urlsplit(self.address)
        return await asyncio.open_connection(place.hostname, place.port)

    def _get(self) -> bytes:
        return self._head("GET", PATH, "")

    def _head(self, method: str, path: str, more: str) -> bytes:
        return f"{method} {path} HTTP/1.1\r\nhost: shop\r\nx-api-key: {self.key}\r\n{more}\r\n".encode()

    async def _answered(self, kind: str, reader: asyncio.StreamReader) -> bool:
        """Read one answer; False at the end of the stream. A reset and a cut answer are errors."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return False
        length = _LENGTH.search(head)
        assert length is not None
        await reader.readexactly(int(length[1]))
        self._count(kind, int(head.split(b" ", 2)[1]), closes=b"connection: close" in head)
        return True

    def _count(self, kind: str, status: int, *, closes: bool) -> None:
        self.answers[kind] += 1
        self.asked_to_close[kind] += closes
        self.statuses.add(status)
