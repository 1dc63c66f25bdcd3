"""A RabbitMQ node and a Kafka for the session, and settlements in a database that a test can take away."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from benchmarks.stream.rabbit_server import RabbitServer, is_installed, rabbit_server

if TYPE_CHECKING:
    from tests.serving.stream.kafka_broker import KafkaBroker


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """Start a node; a test that stops it starts it again."""
    pytest.importorskip("faststream", reason="the extra `stream` is not installed")
    if not is_installed():
        pytest.skip("rabbitmq-server is not installed")
    with rabbit_server(tmp_path_factory.mktemp("rabbit")) as server:
        yield server


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator["KafkaBroker"]:
    pytest.importorskip("aiokafka", reason="the extra `stream` is not installed")
    from tests.serving.stream.kafka_broker import kafka_broker, shorten_sessions

    with kafka_broker(tmp_path_factory.mktemp("kafka")) as broker:
        shorten_sessions()
        yield broker
