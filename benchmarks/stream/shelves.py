"""Measures how fast shelves follow events, on the installation of the settings with its champion.

A consumer of its own scores the shelf `home` live, with the rules of the placements file. The rows that it adds are
deleted at the end.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aio_pika
import numpy as np
from sqlalchemy import Engine, text

from benchmarks.stream.rabbit_server import RabbitServer
from models.errors import TailorbirdError

SOURCE: Final = "benchmark of streams"
QUEUE: Final = "benchmark-shelves"
_SECONDS: Final = 20
_POLL_SECONDS: Final = 0.02
_PATIENCE: Final = 120
_USERS: Final = text(
    "SELECT DISTINCT user_id, user_key FROM recommendations_by_user_id WHERE placement = 'home' AND rank = 1 "
    "AND source = 'batch' AND NOT EXISTS (SELECT FROM session_profiles WHERE subject = user_key) "
    "ORDER BY user_id LIMIT 1000"
)
_ITEMS: Final = text("SELECT DISTINCT item_id FROM current_recommendations WHERE placement = 'home' LIMIT 300")
_SHELVES: Final = text(
    "SELECT user_key, occurred_at, scored_at FROM live_recommendations WHERE placement = 'home' "
    "AND scored_at > cast(:since AS timestamptz) - interval '1 second'"
)
_TRACES: Final = (
    "DELETE FROM event_inbox WHERE source = :source",
    "DELETE FROM rescoring_requests WHERE user_key = ANY (:keys)",
    "DELETE FROM live_recommendations WHERE user_key = ANY (:keys)",
    "DELETE FROM session_profiles WHERE subject = ANY (:keys)",
    "DELETE FROM streams WHERE queue = :queue",
)


@dataclass
class Shelves:
    """The users of the measurement, and the times of clicks that their shelves do not follow yet."""

    engine: Engine
    keys: dict[str, str]
    """The key of each user with consent."""
    items: Sequence[str]
    waiting: dict[str, list[tuple[datetime, float]]] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    number: int = 0
    since: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    """When the newest list that was seen was scored: to read all lists each time takes much of a processor."""

    def click(self, user: str | None) -> aio_pika.Message:
        """Return a click of a user with consent, or of a stranger."""
        self.number += 1
        at = datetime.now(UTC)
        name = user or f"stranger {self.number % 4000}"
        call: dict[str, Any] = {"type": "track", "event": "Product Clicked", "messageId": f"b{self.number}"}
        call |= {"userId": name, "timestamp": at.isoformat(timespec="milliseconds")}
        call |= {"properties": {"product_id": self.items[self.number % len(self.items)]}}
        if user is not None:
            moment = at.replace(microsecond=at.microsecond // 1000 * 1000)
            self.waiting.setdefault(self.keys[user], []).append((moment, time.perf_counter()))
        return aio_pika.Message(json.dumps(call).encode(), delivery_mode=2)

    def look(self) -> None:
        """Note which shelves follow their clicks by now."""
        with self.engine.connect() as connection:
            rows = connection.execute(_SHELVES, {"since": self.since}).all()
        now = time.perf_counter()
        for user_key, followed, scored in rows:
            self.since = max(self.since, scored)
            clicks = self.waiting.get(user_key, [])
            self.latencies += [now - sent for at, sent in clicks if at <= followed]
            self.waiting[user_key] = [(at, sent) for at, sent in clicks if at > followed]

    @property
    def missing(self) -> int:
        """Return the number of clicks that no shelf follows yet."""
        return sum(map(len, self.waiting.values()))


@contextmanager
def shelves(engine: Engine) -> Iterator[Shelves]:
    """Yield users and items of the installation; at the end nothing of the measurement is left."""
    with engine.connect() as connection:
        keys = {row.user_id: row.user_key for row in connection.execute(_USERS)}
        items = list(connection.execute(_ITEMS).scalars())
    if len(keys) < 100:
        raise TailorbirdError("The installation has too few published lists for home: `make demo` makes some.")
    try:
        yield Shelves(engine, keys, items)
    finally:
        with engine.begin() as connection:
            for statement in _TRACES:
                connection.execute(text(statement), {"source": SOURCE, "keys": [*keys.values()], "queue": QUEUE})


def live_placements(folder: Path) -> Path:
    """Write a placements file with the shelf."""
    file = folder / "placements.toml"
    file.write_text("[home]\nk = 20\nlive = true\n")
    return file


async def measured(broker: RabbitServer, shop: Shelves) -> dict[str, float]:
    """Return how many users are scored again per second, and how long shelves take at half of the saturation.

    A fifth of the events are of users whose shelf is live, each of another one. Saturation is the rate at which a full
    queue of such events is stored and followed by all shelves.
    """
    async with await aio_pika.connect(broker.url) as connection:
        exchange = (await connection.channel()).default_exchange
        await asyncio.gather(*(exchange.publish(shop.click(user), QUEUE) for user in [*shop.keys][:8]))
        await _all_follow(shop)  # the first list is slower
        shop.latencies.clear()
        began = time.perf_counter()
        await asyncio.gather(*(exchange.publish(shop.click(user), QUEUE) for user in shop.keys))
        await _all_follow(shop)
        rescored = len(shop.keys) / (time.perf_counter() - began)
        users = [*shop.keys]
        began = time.perf_counter()
        mixed = [shop.click(users[at // 5] if at % 5 == 0 else None) for at in range(len(users) * 5)]
        await asyncio.gather(*(exchange.publish(message, QUEUE) for message in mixed))
        await _all_follow(shop)
        rate = len(mixed) / (time.perf_counter() - began) / 2
        shop.latencies.clear()
        looking = asyncio.create_task(_look(shop))
        await _publish(exchange, shop, rate)
        await _all_follow(shop)
        looking.cancel()
    p50, p99 = np.percentile(shop.latencies, (50, 99)) * 1000
    return {
        "rescored_users_per_s": rescored,
        "half_of_saturation_per_s": rate,
        "p50_ms_event_to_shelf": float(p50),
        "p99_ms_event_to_shelf": float(p99),
    }


async def _publish(exchange: Any, shop: Shelves, rate: float) -> None:
    """Publish events at a constant rate."""
    users, began, sent = [*shop.keys], time.perf_counter(), 0
    tasks: list[asyncio.Task[Any]] = []
    while (passed := time.perf_counter() - began) < _SECONDS:
        while sent < passed * rate:
            user = users[sent // 5 * 7 % len(users)] if sent % 5 == 0 else None
            tasks.append(asyncio.create_task(exchange.publish(shop.click(user), QUEUE)))
            sent += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)


async def _look(shop: Shelves) -> None:
    while True:
        await asyncio.to_thread(shop.look)
        await asyncio.sleep(_POLL_SECONDS)


async def _all_follow(shop: Shelves) -> None:
    deadline = time.monotonic() + _PATIENCE
    while shop.missing:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{shop.missing} clicks reached no shelf.")
        await asyncio.to_thread(shop.look)
        await asyncio.sleep(_POLL_SECONDS)
