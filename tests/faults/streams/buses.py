"""The brokers of storms: how messages are published to them, and which faults happen to them."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.stream.rabbit_server import RabbitServer
from serving.stream.kafka import group_of
from tests.serving.stream import publishing
from tests.serving.stream.kafka_broker import GIVEN, KafkaBroker, free_port, kafka_broker

_PART = 500


class RabbitBus:
    """A quorum queue of RabbitMQ, which consumers reach through a proxy."""

    counts_repeats = False
    """Whether a repeated message that is malformed is another dead letter, since the broker gives it another id."""

    def __init__(self, server: RabbitServer, proxy: Proxy, queue: str) -> None:
        self._server, self._proxy, self.queue = server, proxy, queue
        self.url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/"

    def deadly_share(self, number: int) -> float:
        """The share of acknowledgements before which a consumer of so many messages dies: about three."""
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


Bus = RabbitBus | KafkaBus


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


class Proxy:
    """Forwards bytes of a port of its own to that of a server."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset every connection; new ones are let through."""
        with self._lock:
            ends, self._open = self._open, set()
        for one in ends:
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let nobody in any more."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                with self._lock:
                    self._open |= {client, server}
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {source, target}
