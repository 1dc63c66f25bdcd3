"""Messages of a Kafka reach the inbox once, whatever happens between their commit and that of their offsets."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.http import metrics
from serving.stream.consumer import ConsumerConfig, consume
from serving.stream.settlement import Settlement
from tests.serving.events.inbox_database import InboxDatabase
from tests.serving.made_up_shop import until
from tests.serving.stream.clicks import REFUSES, click, letters, settlement_of
from tests.serving.stream.kafka_broker import KafkaBroker, aiokafka, binding, broker_with_disk, free_port

pytestmark = pytest.mark.anyio

SECONDS = 60


@asynccontextmanager
async def consuming(kafka: KafkaBroker, inbox: InboxDatabase, topic: str) -> AsyncIterator[Settlement]:
    """Consume as the source `bus` meanwhile."""
    ended = asyncio.Event()
    async with settlement_of(inbox) as settlement:
        task = asyncio.create_task(consume(settlement, ConsumerConfig(kafka.url(topic), topic, "bus"), ended))
        try:
            yield settlement
        finally:
            ended.set()
            await task


async def eventually(holds: Callable[[], bool]) -> None:
    await until(holds, SECONDS)


async def committed(kafka: KafkaBroker, topic: str) -> int:
    return await kafka.committed(topic, binding.group_of("bus", topic))


def stored_offsets(inbox: InboxDatabase) -> int:
    return int(inbox.rows("SELECT coalesce(sum(next_offset), 0) AS n FROM stream_offsets")[0].n)


async def test_two_consumers_store_repeated_shuffled_and_late_messages_once(
    kafka: KafkaBroker, inbox: InboxDatabase
) -> None:
    clicks = [click(number, user=f"user {number % 9}", minutes=number % 4000) for number in range(400)]
    bad = [b"{", click(1, "another"), b"[]"]
    bodies = clicks + clicks[::3]
    random.Random(1).shuffle(bodies)  # noqa: S311
    topic, published = await kafka.topic(), 0

    async def publish(bodies: Sequence[bytes]) -> None:
        nonlocal published
        published += len(bodies)
        await kafka.publish(topic, bodies)

    await publish(bodies[:200])
    async with consuming(kafka, inbox, topic) as first:
        async with consuming(kafka, inbox, topic) as second:  # coming and leaving, each is a rebalancing
            while not (first.counts and second.counts):
                await publish(random.Random(published).sample(bodies, 40))  # noqa: S311
                await asyncio.sleep(0.05)
        await publish(bodies[200:])
        await eventually(lambda: len(inbox.ids()) == len(clicks))
        await publish(bad)
        await eventually(lambda: len(letters(inbox)) == len(bad))
    assert await committed(kafka, topic) == stored_offsets(inbox) == published
    assert inbox.rows("SELECT queue, source FROM streams") == [(topic, "bus")]
    assert f'tailorbird_stream_lag_messages{{queue="{topic}"}}' in metrics.exposition().decode()
    assert sorted(inbox.ids()) == sorted(f"m{number}" for number in range(len(clicks)))
    assert [reason for reason, _, _ in letters(inbox)] == ["id_conflict", "malformed", "malformed"]


async def test_messages_whose_offsets_were_not_committed_come_again_and_count_once(
    kafka: KafkaBroker, inbox: InboxDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any) -> None:
        """Fail to commit, as a consumer that is killed before."""

    topic = await kafka.topic()
    await kafka.publish(topic, [click(0, messageId=None), click(1), b"{"])
    with monkeypatch.context() as patch:
        patch.setattr(binding, "_commit", never)
        async with consuming(kafka, inbox, topic) as settlement:
            await eventually(lambda: settlement.counts.total() == 3)
    assert (await committed(kafka, topic), stored_offsets(inbox)) == (0, 3)
    async with consuming(kafka, inbox, topic) as settlement:
        await eventually(lambda: settlement.counts == {"duplicate": 2, "malformed": 1})
    assert await committed(kafka, topic) == 3
    assert len(inbox.ids()) == 2
    assert letters(inbox) == [("malformed", 2, b"{")]


async def test_poison_is_a_dead_letter_and_no_offset_commits_before_it(
    kafka: KafkaBroker, inbox: InboxDatabase
) -> None:
    inbox.rows(REFUSES)
    topic = await kafka.topic()
    odd = [("name", b"\xff"), ("content-encoding", b"")]
    await kafka.publish(topic, [click(1), click(0, messageId="poison"), click(2)], odd, key=b"ann")
    async with consuming(kafka, inbox, topic):
        await eventually(lambda: len(inbox.ids()) == 2)
        assert (await committed(kafka, topic), stored_offsets(inbox)) == (0, 0)
        await eventually(lambda: bool(letters(inbox)))
    assert (await committed(kafka, topic), stored_offsets(inbox)) == (3, 3)
    assert [reason for reason, _, _ in letters(inbox)] == ["poison"]


async def test_messages_in_work_during_an_outage_are_given_up_when_their_partitions_move(
    kafka: KafkaBroker, inbox: InboxDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(binding, "_FINISH_SECONDS", 0.2)
    topic = await kafka.topic()
    async with consuming(kafka, inbox, topic):
        await eventually(lambda: bool(inbox.rows("SELECT FROM streams")))
        inbox.go_away()
        await kafka.publish(topic, [click(number) for number in range(50)])
        await eventually(lambda: "messages wait in the broker" in caplog.text)
        async with consuming(kafka, inbox, topic) as second:
            await eventually(lambda: "go back to Kafka" in caplog.text)
            assert await committed(kafka, topic) == 0
            inbox.come_back()
            await eventually(lambda: len(inbox.ids()) == 50 and second.counts.total() > 0)
    assert await committed(kafka, topic) == stored_offsets(inbox) == 50


async def test_a_consumer_goes_on_after_its_broker_was_killed_and_after_an_error_of_the_client(
    inbox: InboxDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, getmany, errors = free_port(), aiokafka.AIOKafkaConsumer.getmany, [aiokafka.errors.KafkaError()]

    async def failing_once(consumer: Any, **options: Any) -> Any:
        if errors and inbox.ids():
            raise errors.pop()
        return await getmany(consumer, **options)

    monkeypatch.setattr(aiokafka.AIOKafkaConsumer, "getmany", failing_once)
    monkeypatch.setitem(binding._OPTIONS, "session_timeout_ms", 6_000)  # this broker refuses shorter ones
    async with AsyncExitStack() as stack:
        with broker_with_disk(tmp_path, port) as kafka:
            topic = await kafka.topic()
            await kafka.publish(topic, [click(number) for number in range(20)])
            consumer = await stack.enter_async_context(consuming(kafka, inbox, topic))
            await eventually(lambda: not errors and len(inbox.ids()) == 20)
            await kafka.publish(topic, [click(number) for number in range(40)])
        with broker_with_disk(tmp_path, port) as kafka:
            await kafka.publish(topic, [click(number) for number in range(60)])
            await eventually(lambda: len(inbox.ids()) == 60)
            await stack.aclose()
    assert consumer.counts["stored"] == 60
