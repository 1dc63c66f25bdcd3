"""Messages of a real RabbitMQ reach the inbox once, and what cannot reaches the dead letters."""

import asyncio
import random
from typing import Any

import pytest

from benchmarks.stream.rabbit_server import RabbitServer
from serving.http import metrics
from tests.serving.events.inbox_database import InboxDatabase
from tests.serving.stream.clicks import click, letters
from tests.serving.stream.publishing import consuming, publish, waiting

aio_pika: Any = pytest.importorskip("aio_pika")
from serving.stream.delivery import HEAD_BYTES, BrokerDownError  # noqa: E402
from serving.stream.rabbit import RabbitStream  # noqa: E402

pytestmark = pytest.mark.anyio


async def test_two_consumers_store_repeated_shuffled_and_late_messages_once(
    rabbit: RabbitServer, inbox: InboxDatabase
) -> None:
    clicks = [click(number, user=f"user {number % 9}", minutes=number % 4000) for number in range(400)]
    bad = [b"{", click(1, "another"), b"[]"]
    bodies = clicks + clicks[::3] + bad
    random.Random(1).shuffle(bodies)  # noqa: S311

    def all_arrived() -> bool:
        lags = [row.lag for row in inbox.rows("SELECT lag FROM streams")]
        return (len(inbox.ids()), len(letters(inbox)), lags) == (len(clicks), len(bad), [0])

    queue = "shared"
    await consuming(rabbit, inbox, queue, lambda: bool(inbox.rows("SELECT FROM streams")))
    await publish(rabbit, queue, bodies)
    both = [asyncio.create_task(consuming(rabbit, inbox, queue, all_arrived)) for _ in range(2)]
    await asyncio.gather(*both)
    assert await waiting(rabbit, queue) == 0
    kinds = [reason for reason, _, _ in letters(inbox)]
    assert kinds == ["id_conflict", "malformed", "malformed"]
    conflict = letters(inbox)[0][2]
    assert conflict in (clicks[1], click(1, "another"))
    assert inbox.rows("SELECT queue, source, lag FROM streams") == [("shared", "bus", 0)]
    shown = metrics.exposition().decode()
    assert 'tailorbird_stream_lag_messages{queue="shared"} 0.0' in shown
    assert 'tailorbird_stream_messages_total{outcome="stored"}' in shown


async def test_a_message_comes_again_until_it_is_acknowledged_and_counts_once(
    rabbit: RabbitServer, inbox: InboxDatabase
) -> None:
    queue = "again"
    await consuming(rabbit, inbox, queue, lambda: bool(inbox.rows("SELECT FROM streams")))
    await publish(rabbit, queue, [click(1), click(2)])
    async with await aio_pika.connect(rabbit.url) as killed:  # a consumer that ends before it acknowledges
        held = await (await killed.channel()).declare_queue(queue, passive=True)
        assert await held.get() is not None
    await consuming(rabbit, inbox, queue, lambda: len(inbox.ids()) == 2)
    await publish(rabbit, queue, [click(1)])
    async with await aio_pika.connect(rabbit.url) as connection:
        exchange = await (await connection.channel()).get_exchange(f"{queue}.dead")
        await exchange.publish(aio_pika.Message(b"given up"), "")
    await consuming(rabbit, inbox, queue, lambda: [one[0] for one in letters(inbox)] == ["broker"])
    assert await waiting(rabbit, queue) == await waiting(rabbit, f"{queue}.dead") == 0
    assert inbox.ids() == ["m1", "m2"]


@pytest.mark.parametrize("error", [Exception(), RuntimeError("closed"), TimeoutError(), ConnectionResetError()])
async def test_a_connection_that_is_lost_during_the_start_is_waited_for(error: Exception) -> None:
    async def lost(*_: object) -> None:
        raise error

    stream = RabbitStream("amqp://127.0.0.1:9/", "lost", None)  # type: ignore[arg-type]
    stream._broker.start = lost  # type: ignore[method-assign]
    with pytest.raises(BrokerDownError, match=type(error).__name__):
        async with stream.running():
            pass


async def test_a_start_that_fails_leaves_no_connection_that_takes_messages(rabbit: RabbitServer) -> None:
    async def lost(*_: object) -> None:
        raise KeyError

    stream = RabbitStream(rabbit.url, "left", None)  # type: ignore[arg-type]
    stream._broker.declare_exchange = lost  # type: ignore[assignment]
    with pytest.raises(KeyError):
        async with stream.running():
            pass
    async with await aio_pika.connect(rabbit.url) as connection:
        queue = await (await connection.channel()).declare_queue("left", passive=True)
        assert queue.declaration_result.consumer_count == 0


async def test_large_messages_leave_their_heads_also_those_that_the_broker_gave_up(
    rabbit: RabbitServer, inbox: InboxDatabase
) -> None:
    queue = "heads"
    await consuming(rabbit, inbox, queue, lambda: bool(inbox.rows("SELECT FROM streams")))
    await publish(rabbit, queue, [b"1" * 600_000, click(1)])
    await publish(rabbit, f"{queue}.dead", [b"2" * 600_000])
    await consuming(rabbit, inbox, queue, lambda: len(letters(inbox)) == 2 and inbox.ids() == ["m1"])
    assert await waiting(rabbit, queue) == await waiting(rabbit, f"{queue}.dead") == 0
    assert sorted(letters(inbox)) == [("too_large", 1, b"1" * HEAD_BYTES), ("too_large", 1, b"2" * HEAD_BYTES)]


async def test_a_message_that_the_broker_delivered_too_often_is_kept(
    rabbit: RabbitServer, inbox: InboxDatabase
) -> None:
    queue = "limited"
    await consuming(rabbit, inbox, queue, lambda: bool(inbox.rows("SELECT FROM streams")))
    await publish(rabbit, queue, [b"kills its consumer"])
    async with await aio_pika.connect(rabbit.url) as connection:
        held = await (await connection.channel()).declare_queue(queue, passive=True)
        while (message := await held.get(fail=False)) is not None or await waiting(rabbit, f"{queue}.dead") == 0:
            if message is not None:
                await message.nack(requeue=True)
    await consuming(rabbit, inbox, queue, lambda: bool(letters(inbox)))
    assert letters(inbox) == [("broker", 1, b"kills its consumer")]
    (detail,) = inbox.rows("SELECT detail FROM identity.dead_letters")[0]
    assert detail == "RabbitMQ gave the message up: delivery_limit."
