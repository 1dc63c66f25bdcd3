"""The brokers of storms: how messages are published to them, and which faults happen to them."""

import asyncio
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.stream.rabbit_server import RabbitServer
from serving.stream.kafka import group_of
from tests.faults.streams.proxy import Proxy
from tests.serving.stream import publishing
from tests.serving.stream.kafka_broker import GIVEN, KafkaBroker, free_port, kafka_broker

_PART = 500


class Bus(Protocol):
    """A broker with one queue or topic."""

    url: str
    queue: str
    counts_repeats: bool
    """Whether a repeated message that is malformed is another dead letter, since the broker gives it another id."""

    def deadly_share(self, number: int) -> float:
        """The share of acknowledgements before which a consumer of so many messages dies: about three."""

    def publish(self, bodies: Sequence[bytes]) -> None:
        """Return when the broker has them."""

    def is_done(self) -> bool:
        """Whether every message is acknowledged."""

    def faults(self, chance: random.Random) -> list[Callable[[], None]]:
        """What can happen to the broker and the connections with it."""


class RabbitBus:
    """A quorum queue of RabbitMQ, which consumers reach through a proxy."""

    counts_repeats = False

    def __init__(self, server: RabbitServer, proxy: Proxy, queue: str) -> None:
        self._server, self._proxy, self.queue = server, proxy, queue
        self.url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/"

    def deadly_share(self, number: int) -> float:
        return 3 / number

    def publish(self, bodies: Sequence[bytes]) -> None:
        for first in range(0, len(bodies), _PART):
            asyncio.run(publishing.publish(self._server, self.queue, bodies[first : first + _PART]))

    def is_done(self) -> bool:
        return asyncio.run(publishing.waiting(self._server, self.queue)) == 0

    def faults(self, chance: random.Random) -> list[Callable[[], None]]:  # noqa: ARG002
        def killed() -> None:
            self._server.kill()
            self._server.start()

        return [killed, self._proxy.cut]


class KafkaBus:
    """A topic of Kafka. One of our own is reached through a proxy, and stops for a while: it has no disk."""

    counts_repeats = True

    def __init__(self, broker: KafkaBroker, proxy: Proxy | None) -> None:
        self._broker, self._proxy = broker, proxy
        self.queue = asyncio.run(broker.topic())
        self.url = broker.url(self.queue)
        self._published = 0

    def deadly_share(self, number: int) -> float:
        return 0.1 if number < 5_000 else 0.05  # offsets are committed for up to 500 messages at once

    def publish(self, bodies: Sequence[bytes]) -> None:
        self._published += len(bodies)
        asyncio.run(self._broker.publish(self.queue, bodies))

    def is_done(self) -> bool:
        return asyncio.run(self._broker.committed(self.queue, group_of("bus", self.queue))) == self._published

    def faults(self, chance: random.Random) -> list[Callable[[], None]]:
        process, proxy = self._broker.process, self._proxy
        if process is None or proxy is None:
            return []

        def stopped() -> None:
            process.send_signal(signal.SIGSTOP)
            time.sleep(3 * chance.random())
            process.send_signal(signal.SIGCONT)

        return [stopped, proxy.cut]


@contextmanager
def rabbit_bus(server: RabbitServer, queue: str) -> Iterator[RabbitBus]:
    """A queue of a node that runs."""
    proxy = Proxy(server.port)
    try:
        yield RabbitBus(server, proxy, queue)
    finally:
        proxy.close()


@contextmanager
def kafka_bus(folder: Path) -> Iterator[KafkaBus]:
    """A topic of the broker that the environment names, else of a new one."""
    if GIVEN:
        yield KafkaBus(KafkaBroker(GIVEN), None)
        return
    port = free_port()
    proxy = Proxy(port)
    try:
        with kafka_broker(folder, proxy.port, port) as broker:
            yield KafkaBus(broker, proxy)
    finally:
        proxy.close()
