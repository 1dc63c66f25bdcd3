"""Binds a consumer to Kafka: offsets commit with the rows of their messages, and after that in the broker."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.exceptions import FastStreamException
from faststream.kafka import KafkaBroker
from faststream.security import BaseSecurity, SASLPlaintext

from serving.events.store import GROUP
from serving.stream.delivery import EVENT, EXCHANGE, BrokerDownError, Delivery, Pauses, Update, received
from serving.stream.settlement import Settlement

_LOG: Final = logging.getLogger(__name__)
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # each attempt to connect would be a line
_FINISH_SECONDS: Final = 10.0
"""The time for messages in work when their partitions are taken away; the broker waits for it."""
_OPTIONS: Final[dict[str, Any]] = {
    "auto_offset_reset": "earliest",
    "isolation_level": "read_committed",
    "session_timeout_ms": 10_000,
    "heartbeat_interval_ms": 1_000,
    "rebalance_timeout_ms": 30_000,
    "fetch_max_bytes": 4 * 1024 * 1024,
}
_METADATA_MS: Final = 30_000
"""New topics and partitions are found within this time."""
_POLL_MS: Final = 500
_LOST: Final = (CommitFailedError, IllegalStateError)
"""Errors of a commit after the partition went to another consumer: that one gets the messages again, and knows them."""
# The last one counts, also if it is lower: a topic that was deleted and made again starts at 0.
_KEEP: Final = """
    INSERT INTO stream_offsets (source, topic, partition, next_offset)
    SELECT $1, * FROM unnest($2::text[], $3::int[], $4::bigint[])
    ON CONFLICT (source, topic, partition) DO UPDATE SET next_offset = excluded.next_offset, stored_at = now()"""
_STORED: Final = "SELECT partition, next_offset FROM stream_offsets WHERE source = $1 AND topic = $2"


def group_of(source: str, topic: str) -> str:
    """Return the group of the consumers that share a topic."""
    return f"tailorbird-{source}-{topic}"


class KafkaStream(ConsumerRebalanceListener):  # type: ignore[misc]  # without types
    """A consumer of one topic."""

    def __init__(self, url: str, topic: str, settlement: Settlement) -> None:
        """Prepare; `running` connects. Consumers of a source share the partitions, as one group."""
        self._topic, self._settlement, self._source = topic, settlement, settlement.reader.source
        place = urlsplit(url)
        self._broker = KafkaBroker(
            place.netloc.rpartition("@")[2].split(","),
            security=_security(place),
            logger=None,
            metadata_max_age_ms=_METADATA_MS,
            allow_auto_create_topics=False,
            acks="all",
        )
        # Without a handler of FastStream, which would drop a group of messages if one has a header that is no text.
        self._subscriber = self._broker.subscriber(
            topic, group_id=group_of(self._source, topic), ack_policy=AckPolicy.MANUAL, listener=self, **_OPTIONS
        )
        self._in_work: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Consume meanwhile. At the end, messages that are not durable stay uncommitted. Raises BrokerDownError."""
        try:
            consumer = await self._connected()
        except (KafkaError, OSError) as error:
            await self._broker.stop()
            reason = type(error).__name__
            raise BrokerDownError(f"Kafka cannot be reached, or refuses the login: {reason}.") from error
        if not consumer.partitions_for_topic(self._topic):
            _LOG.warning("Kafka has no topic %s. The consumer waits for it: create it.", self._topic)
        consuming = asyncio.create_task(self._consume(consumer))
        try:
            yield
        finally:
            consuming.cancel()
            await asyncio.gather(consuming, return_exceptions=True)
            await self._finish()
            await self._broker.stop()

    async def lag(self) -> int:
        """Return the number of messages of the topic that are not stored. Raises BrokerDownError."""
        consumer = self._subscriber.consumer
        if consumer is None:
            raise BrokerDownError("Kafka is not connected.")
        parts = [TopicPartition(self._topic, one) for one in consumer.partitions_for_topic(self._topic) or ()]
        try:
            ends, begins = await consumer.end_offsets(parts), await consumer.beginning_offsets(parts)
        except (KafkaError, OSError) as error:
            raise BrokerDownError(f"Kafka cannot be reached: {type(error).__name__}.") from error
        async with self._settlement.pool.acquire() as connection:
            stored = dict[int, int](await connection.fetch(_STORED, self._source, self._topic))
        return sum(max(0, ends[one] - max(stored.get(one.partition, 0), begins[one])) for one in parts)

    async def publish(self, updates: Sequence[Update]) -> None:
        """Return when the broker has confirmed all messages. Raises BrokerDownError."""
        try:
            for one in updates:
                await self._broker.publish(
                    one.body, EXCHANGE, key=one.user_id.encode(), headers={"type": EVENT, "placement": one.placement}
                )
        except (KafkaError, FastStreamException, OSError) as error:
            raise BrokerDownError(f"Kafka did not accept an update: {type(error).__name__}.") from error

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 -- all of them
        """Let the messages in work become durable, or give them up: the partitions' next consumer gets them again."""
        await self._finish()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Start at the committed offsets, as the client does."""

    async def _connected(self) -> AIOKafkaConsumer:
        await self._broker.start()
        consumer = self._subscriber.consumer
        assert consumer is not None
        return consumer

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        """Settle groups until cancelled. After an error the consumer joins again, and starts at committed offsets."""
        pauses = Pauses()
        while True:
            try:
                found = await consumer.getmany(timeout_ms=_POLL_MS, max_records=GROUP)
                records = [one for part in found.values() for one in part]
                if records:
                    self._in_work = asyncio.create_task(self._settle(consumer, records))
                    await asyncio.wait([self._in_work])
                pauses.reset()
            except Exception as error:
                _LOG.warning("Kafka failed with %s: the consumer connects again.", type(error).__name__)
                await asyncio.sleep(pauses.next())
                consumer = await self._again(consumer)

    async def _again(self, consumer: AIOKafkaConsumer) -> AIOKafkaConsumer:
        try:
            await self._broker.stop()
            return await self._connected()
        except (KafkaError, OSError):
            return consumer  # is closed, and so fails again after the next pause

    async def _settle(self, consumer: AIOKafkaConsumer, records: Sequence[ConsumerRecord[Any, Any]]) -> None:
        offsets = {TopicPartition(one.topic, one.partition): one.offset + 1 for one in records}  # they are in order
        await settle_whole(self._settlement, [_delivery(one) for one in records], offsets)
        await _commit(consumer, offsets)

    async def _finish(self) -> None:
        """Wait for the messages in work; after a while give them up, uncommitted."""
        task = self._in_work
        if task is not None and not task.done():
            _, late = await asyncio.wait([task], timeout=_FINISH_SECONDS)
            if late:
                _LOG.warning("Messages that cannot be stored yet go back to Kafka.")
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    try:
        await consumer.commit(offsets)
    except _LOST as error:
        _LOG.debug("Offsets were not committed (%s): their messages come again.", type(error).__name__)
    except KafkaError as error:
        _LOG.warning("Kafka refuses to commit offsets: %s. Messages may come again.", type(error).__name__)


def _delivery(record: ConsumerRecord[Any, Any]) -> Delivery:
    """Return a delivery. Its place and time are its id if it states none: the same when it comes again."""
    headers = dict(record.headers)
    encoding = (headers.get("content-encoding") or b"").decode(errors="replace")
    name = f"{record.topic}-{record.partition}-{record.offset}-{record.timestamp}"
    return received(record.value or b"", name, encoding)


def _security(place: SplitResult) -> BaseSecurity:
    context = ssl.create_default_context() if place.scheme == "kafkas" else None
    if place.username is None:
        return BaseSecurity(ssl_context=context)
    return SASLPlaintext(unquote(place.username), unquote(place.password or ""), ssl_context=context)


async def settle_whole(
    settlement: Settlement, deliveries: Sequence[Delivery], offsets: Mapping[TopicPartition, int]
) -> None:
    """Return when all deliveries are durable, and with the last of them the offsets that follow them.

    A delivery that fails is tried again after a pause, and is a dead letter after five attempts; the others are stored
    meanwhile.
    """

    async def also(connection: asyncpg.Connection) -> None:
        rows = sorted((place.topic, place.partition, offset) for place, offset in offsets.items())
        await connection.execute(_KEEP, settlement.reader.source, *map(list, zip(*rows, strict=True)))

    pauses, pending = Pauses(), list(deliveries)
    while pending:
        try:
            pending = await settlement.settle(pending, also)
        except Exception as error:  # asyncpg has no class for all outages
            if not pauses.failures:
                _LOG.warning("The database failed with %s: messages wait in the broker.", type(error).__name__)
            await asyncio.sleep(pauses.next())
        else:
            pauses.reset()
            if pending:
                await asyncio.sleep(Pauses(pending[0].attempts - 1).next())
