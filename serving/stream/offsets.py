"""Settles messages together with the offsets of Kafka's partitions: before them every message is stored."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from serving.stream.delivery import Delivery
from serving.stream.pauses import Pauses
from serving.stream.settlement import Settlement

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord, TopicPartition

_LOG: Final = logging.getLogger(__name__)
# The last one counts, also if it is lower: a topic that was deleted and made again starts at 0.
_KEEP: Final = """
    INSERT INTO stream_offsets (source, topic, partition, next_offset)
    SELECT $1, * FROM unnest($2::text[], $3::int[], $4::bigint[])
    ON CONFLICT (source, topic, partition) DO UPDATE SET next_offset = excluded.next_offset, stored_at = now()"""
_STORED: Final = "SELECT partition, next_offset FROM stream_offsets WHERE source = $1 AND topic = $2"


def following(records: "Sequence[ConsumerRecord[Any, Any]]") -> "dict[TopicPartition, int]":
    """Return the offset after the records of each partition."""
    from aiokafka import TopicPartition

    return {TopicPartition(one.topic, one.partition): one.offset + 1 for one in records}  # they are in order


async def settle_whole(
    settlement: Settlement, deliveries: Sequence[Delivery], offsets: "Mapping[TopicPartition, int]"
) -> None:
    """Return when all deliveries are durable, and with the last of them the offsets that follow them.

    A delivery that fails is tried again after a pause, and is a dead letter after five attempts; the others are stored
    meanwhile.
    """

    async def also(connection: asyncpg.Connection) -> None:
        await _keep_offsets(connection, settlement.reader.source, offsets)

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


async def stored_offsets(pool: asyncpg.Pool, source: str, topic: str) -> dict[int, int]:
    """Return the next offset of each partition."""
    async with pool.acquire() as connection:
        return dict(await connection.fetch(_STORED, source, topic))


async def _keep_offsets(connection: asyncpg.Connection, source: str, offsets: "Mapping[TopicPartition, int]") -> None:
    """Store offsets, in the transaction of their messages."""
    rows = sorted((place.topic, place.partition, offset) for place, offset in offsets.items())
    await connection.execute(_KEEP, source, *map(list, zip(*rows, strict=True)))
