"""Binds a consumer to RabbitMQ: a quorum queue, and a dead-letter exchange for what the broker gives up."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context
from typing import Any, Final

import aiormq.exceptions
from aio_pika import IncomingMessage
from aiormq.abc import AbstractChannel
from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue

from models.errors import TailorbirdError
from serving.stream.delivery import EVENT, EXCHANGE, BrokerDownError, DeadLetter, Delivery, Update, received
from serving.stream.settlement import GROUP, SettlementQueue

_LOG: Final = logging.getLogger(__name__)
for _library in ("aio_pika", "aiormq"):  # each attempt to connect would be a line
    logging.getLogger(_library).setLevel(logging.CRITICAL)
_DELIVERY_LIMIT: Final = 20
"""The broker gives a message up after so many deliveries, of which a lost connection is one. Ours are fewer."""
_RECONNECT_SECONDS: Final = 1.0
_LOST: Final = (aiormq.exceptions.AMQPError, ConnectionError, RuntimeError)
"""Errors of an acknowledgement after the connection was lost: the message comes again."""


_UPDATES: Final = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC, durable=True)
_NO_ENTRY: Final = (
    aiormq.exceptions.AuthenticationError,
    aiormq.exceptions.ProbableAuthenticationError,
    aiormq.exceptions.ConnectionNotAllowed,
    aiormq.exceptions.InvalidFrameError,  # what the client makes of a virtual host that does not exist
)
"""Errors of a connection that the broker refuses."""


def main_queue(name: str) -> RabbitQueue:
    """Return the queue that programs publish to."""
    arguments: Any = {
        "x-delivery-limit": _DELIVERY_LIMIT,
        "x-dead-letter-exchange": dead_name(name),
        # A message leaves this queue only after the other one has it.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return RabbitQueue(name, queue_type=QueueType.QUORUM, durable=True, arguments=arguments)


def dead_queue(name: str) -> RabbitQueue:
    """Return the queue of what the broker gave up; it gives nothing up itself."""
    arguments: Any = {"x-delivery-limit": -1}
    return RabbitQueue(dead_name(name), queue_type=QueueType.QUORUM, durable=True, arguments=arguments)


def dead_name(name: str) -> str:
    """Return the name of the exchange and the queue of what the broker gave up."""
    return f"{name}.dead"


class RabbitStream:
    """A consumer of one queue."""

    def __init__(self, url: str, name: str, queue: SettlementQueue) -> None:
        """Prepare; `running` connects."""
        self.name, self._queue = name, queue
        self._cut: set[asyncio.Task[None]] = set()
        self._broker = RabbitBroker(
            url,
            fail_fast=True,
            reconnect_interval=_RECONNECT_SECONDS,
            logger=None,
            apply_types=False,
            decoder=_undecoded,
            graceful_timeout=10.0,
        )
        options: dict[str, Any] = {"ack_policy": AckPolicy.MANUAL, "no_reply": True}
        # The dead letters first, so that no message is given up while nobody holds it.
        between = RabbitExchange(dead_name(name), type=ExchangeType.FANOUT, durable=True)
        self._broker.subscriber(dead_queue(name), between, channel=Channel(GROUP), **options)(self._keep)
        self._broker.subscriber(main_queue(name), channel=Channel(GROUP), **options)(self._take)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Consume meanwhile. At the end, messages that are not durable go back to the broker.

        Raises BrokerDownError, and TailorbirdError if the broker refuses.
        """
        try:
            with _losses("cannot be reached"):
                await self._start()
            yield
        finally:
            with _losses("was lost before the end"):
                await self._broker.stop()

    async def _start(self) -> None:
        try:
            await self._broker.start()
            await self._broker.declare_exchange(_UPDATES)
        except _NO_ENTRY:
            raise TailorbirdError(
                "RabbitMQ refuses the login. Correct user, password and virtual host in the address."
            ) from None
        except aiormq.exceptions.ChannelPreconditionFailed as error:
            raise TailorbirdError(
                f"RabbitMQ has a queue {self.name} of another kind: {error}. Choose another with --queue, or delete it."
            ) from None

    async def lag(self) -> int:
        """Return the number of messages that wait in the broker. Raises BrokerDownError."""
        with _losses("cannot be reached"):
            connection = await self._broker.connect()
            async with connection.channel() as channel:
                queue = await channel.declare_queue(self.name, passive=True)
                return queue.declaration_result.message_count or 0

    async def publish(self, updates: Sequence[Update]) -> None:
        """Return when the broker has confirmed all messages. Raises BrokerDownError."""
        with _losses("did not accept an update"):
            await asyncio.gather(*map(self._publish, updates))

    async def _publish(self, update: Update) -> None:
        await self._broker.publish(
            update.body,
            exchange=_UPDATES,
            routing_key=f"{EVENT}.{update.placement}",
            mandatory=False,  # a shop without such a tool binds no queue
            persist=True,
            content_type="application/json",
            message_type=EVENT,
        )

    async def _take(self, message: RabbitMessage) -> None:
        raw = message.raw_message
        delivery = _delivery(raw)
        if not delivery.cut:
            return await self._settle(delivery, raw.channel, raw.delivery_tag)
        # The client holds the whole body until this returns, and so does the context of this call. Cycles hold the
        # message even longer.
        raw.body = message.body = b""
        task = asyncio.create_task(self._settle(delivery, raw.channel, raw.delivery_tag), context=Context())
        self._cut.add(task)
        return task.add_done_callback(self._cut.discard, context=Context())

    async def _settle(self, delivery: Delivery, channel: AbstractChannel, tag: int | None) -> None:
        await self._queue.settle(delivery)
        await _acknowledge(channel, tag)

    async def _keep(self, message: RabbitMessage) -> None:
        raw, delivery = message.raw_message, _delivery(message.raw_message)
        if delivery.cut:
            return await self._take(message)
        deaths: Any = raw.headers.get("x-death") or [{}]
        detail = f"RabbitMQ gave the message up: {deaths[0].get('reason', 'unknown')}."
        await self._queue.keep(DeadLetter(delivery, "broker", detail))
        return await _acknowledge(raw.channel, raw.delivery_tag)


@contextmanager
def _losses(outcome: str) -> Iterator[None]:
    """Raise BrokerDownError for a connection that was lost."""
    try:
        yield
    except Exception as error:
        # The client ends calls that wait on a lost connection with an error of no class of its own.
        if type(error) is not Exception and not isinstance(error, (*_LOST, OSError)):
            raise
        raise BrokerDownError(f"RabbitMQ {outcome}: {type(error).__name__}.") from error


async def _acknowledge(channel: AbstractChannel, tag: int | None) -> None:
    try:
        await channel.basic_ack(tag or 0)
    except _LOST as error:
        _LOG.debug("An acknowledgement was lost with the connection (%s); the message comes again.", error)


def _delivery(message: IncomingMessage) -> Delivery:
    return received(message.body, message.message_id, message.content_encoding or "")


async def _undecoded(message: RabbitMessage) -> RabbitMessage:
    """Return the message itself: its body is read where what is unreadable becomes a dead letter."""
    return message
