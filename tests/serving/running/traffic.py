"""An open-loop client, whose requests leave when they are due, and mixed traffic with wrong keys and hostile ids.

The traffic has few different requests for lists, so that caches are soon as large as they get.
"""

import asyncio
import random
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

import orjson

from tests.serving.api.test_updates import EXACT, REFUSED
from tests.serving.running.shop import USERS

SESSIONS = 40
VISITORS, ACTIVE = USERS[:20], USERS[20:40]
"""The active ones click: their lists are live for a while."""
_WRONG_KEY = f"tb_{'0' * 12}_{'0' * 64}"
_LENGTH: Final = re.compile(rb"content-length: (\d+)")
_PATIENCE: Final = 30.0
SHED: Final = (429, 503)
_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Request(NamedTuple):
    """One request of a caller."""

    path: str
    method: str = "GET"
    body: object = None
    key: str | None = None
    """In place of the client's key."""


class Reply(NamedTuple):
    """What a request became."""

    request: Request
    status: int
    head: bytes
    body: bytes

    def json(self) -> dict[str, object]:
        value: dict[str, object] = orjson.loads(self.body)
        return value


class OpenLoop:
    """Sends requests to one server at a rate, on as many connections as are needed."""

    def __init__(self, address: str, key: str) -> None:
        self._place, self._key = urlsplit(address), key
        self._idle: deque[_Connection] = deque()
        self.replies: list[Reply] = []
        """All replies of this client."""

    async def send(self, rate: float, seconds: float, make: Callable[[int], Request]) -> list[Reply]:
        """Send requests at a constant rate; return all replies. A connection that breaks is an error."""
        clock = asyncio.get_running_loop().time
        began, tasks = clock(), []
        async with asyncio.TaskGroup() as group:
            for number in range(round(rate * seconds)):
                await asyncio.sleep(max(0.0, began + number / rate - clock()))
                tasks.append(group.create_task(self.one(make(number))))
        return [task.result() for task in tasks]

    async def one(self, request: Request) -> Reply:
        """Send one request on an idle connection, or on a new one."""
        async with asyncio.timeout(_PATIENCE):
            connection = await self._connection()
            reader, writer = connection
            writer.write(self._bytes(request))
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
        self._idle.append(connection)
        self.replies.append(Reply(request, int(head.split(b" ", 2)[1]), head, body))
        return self.replies[-1]

    async def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.popleft()
            if not connection[0].at_eof() and not connection[1].is_closing():
                return connection
        return await asyncio.open_connection(self._place.hostname, self._place.port)

    def _bytes(self, request: Request) -> bytes:
        key = self._key if request.key is None else request.key
        head = f"{request.method} {request.path} HTTP/1.1\r\nhost: shop\r\nx-api-key: {key}\r\n"
        if request.body is None:
            return f"{head}\r\n".encode()
        content = orjson.dumps(request.body)
        return f"{head}content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content


def refusals(replies: Iterable[Reply]) -> Counter[int]:
    """Return the statuses of errors of the server; one that sheds load has to name when to come back."""
    counts = Counter(reply.status for reply in replies if reply.status >= 500 or reply.status in SHED)
    for reply in replies:
        if reply.status in SHED:
            assert b"retry-after: " in reply.head, reply
    return counts


def mixed(items: Sequence[str], seed: int = 1) -> Callable[[int], Request]:
    """Return a function of the number of a request; the same seed gives the same requests."""
    rng = random.Random(seed)  # noqa: S311 - the same traffic each time
    makers = {
        30: lambda: Request(f"/v1/users/{rng.choice(VISITORS[:5])}/recommendations?k=10"),
        20: lambda: Request(f"/v1/users/{rng.choice(VISITORS + ACTIVE)}/recommendations?k={rng.choice((5, 10, 20))}"),
        12: lambda: Request(f"/v1/recommendations?k=5&session=s{rng.randrange(SESSIONS)}&context={rng.choice(items)}"),
        8: lambda: Request(f"/v1/items/{rng.choice(items)}/similar?k=5"),
        6: lambda: Request(f"/v1/users/stranger-{rng.randrange(100)}/recommendations"),
        5: lambda: Request(
            "/v1/rank", "POST", {"items": rng.sample(list(items), 5), "user": rng.choice(VISITORS + ACTIVE)}
        ),
        4: lambda: Request("/v1/batch/recommendations", "POST", {"users": rng.sample(VISITORS, 5), "k": 5}),
        **{
            share: lambda kind=kind: Request("/v1/feedback", "POST", _act(rng, kind, items))
            for share, kind in ((7, "click"), (1, "not_interested"))
        },
        2: lambda: Request(f"/v1/items/{rng.choice(items)}", "PATCH", {"price": rng.randint(1, 90)}),
        3: lambda: Request("/v1/popular", key=_WRONG_KEY),
        9: lambda: Request(f"/v1/users/{quote(rng.choice(EXACT + REFUSED[1:]), safe='')}/recommendations?k=3"),
    }

    def make(_: int) -> Request:
        return rng.choices([*makers.values()], [*makers])[0]()

    return make


def _act(rng: random.Random, kind: str, items: Sequence[str]) -> dict[str, object]:
    session = f"s{rng.randrange(SESSIONS)}"
    act: dict[str, object] = {"kind": kind, "item_id": rng.choice(items), "session": session, "consent": True}
    return act | {"user": rng.choice(ACTIVE)} if rng.random() < 0.5 else act
