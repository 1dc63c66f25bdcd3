"""Publishes messages to a queue, and consumes them in this process."""

import asyncio
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

import pytest

from benchmarks.stream.rabbit_server import RabbitServer
from serving.stream.consumer import ConsumerConfig, consume
from tests.serving.events.inbox_database import InboxDatabase
from tests.serving.made_up_shop import until
from tests.serving.stream.clicks import settlement_of

aio_pika: Any = pytest.importorskip("aio_pika", reason="the extra `stream` is not installed")


async def publish(server: RabbitServer, queue: str, bodies: Iterable[bytes]) -> None:
    """Return when the broker has confirmed all messages; equal ones have the same id. The queue has to exist."""
    async with await aio_pika.connect(server.url) as connection:
        channel = await connection.channel()
        messages = [aio_pika.Message(body, message_id=sha256(body).hexdigest(), delivery_mode=2) for body in bodies]
        sent = (channel.default_exchange.publish(message, queue, mandatory=True) for message in messages)
        await asyncio.gather(*sent)


async def consuming(
    server: RabbitServer, inbox: InboxDatabase, queue: str, holds: Callable[[], bool], seconds: float = 30
) -> None:
    """Consume as the source `bus` until something holds."""
    ended = asyncio.Event()
    async with settlement_of(inbox) as settlement:
        task = asyncio.create_task(consume(settlement, ConsumerConfig(server.url, queue, "bus"), ended))
        try:
            await until(holds, seconds)
        finally:
            ended.set()
            await task


async def waiting(server: RabbitServer, queue: str) -> int:
    """The messages of a queue that nobody holds."""
    async with await aio_pika.connect(server.url) as connection:
        declared = await (await connection.channel()).declare_queue(queue, passive=True)
        return int(declared.declaration_result.message_count)
