"""Settles groups whose offsets commit as one: until every message of the group is durable."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import asyncpg

from serving.stream.delivery import Delivery
from serving.stream.offsets import keep_offsets
from serving.stream.pauses import Pauses
from serving.stream.settlement import Settlement
from serving.stream.settlement_queue import PATIENCE

if TYPE_CHECKING:
    from aiokafka import TopicPartition

_LOG: Final = logging.getLogger(__name__)


async def settle_whole(
    settlement: Settlement, deliveries: Sequence[Delivery], offsets: "Mapping[TopicPartition, int]"
) -> None:
    """Return when all deliveries are durable, and with the last of them the offsets that follow them.

    A delivery that fails is tried again after a pause, and is a dead letter after five attempts; the others are stored
    meanwhile.
    """

    async def also(connection: asyncpg.Connection) -> None:
        await keep_offsets(connection, settlement.reader.source, offsets)

    pauses, pending = Pauses(), list(deliveries)
    while pending:
        try:
            async with asyncio.timeout(PATIENCE):
                pending = await settlement.settle(pending, also)
        except Exception as error:  # asyncpg has no class for all outages
            if not pauses.failures:
                _LOG.warning("The database failed with %s: messages wait in the broker.", type(error).__name__)
            await asyncio.sleep(pauses.next())
        else:
            pauses.reset()
            if pending:
                await asyncio.sleep(Pauses(pending[0].attempts - 1).next())
