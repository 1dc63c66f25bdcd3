"""Measures a consumer on a RabbitMQ and a PostgreSQL of its own: every acknowledged event is durable there.

Run as `python -m benchmarks.stream`. A queue is filled with 40,000 messages of one event each, a tenth of them twice,
and one consumer empties it. Then the inbox moves into the lake, and every event is counted there. Broker, database and
consumer share the processors of this machine. It needs Debian's package rabbitmq-server.

Then shelves are measured on the installation of the settings, such as the one of `make demo`: its champion scores the
lists of 1,000 users again, and a fifth of the events at half of the saturation is of users whose shelf is live.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aio_pika
import psutil
from sqlalchemy import TextClause, text
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.installation import fresh
from benchmarks.results import publish
from benchmarks.serve.collect import arrived, singles
from benchmarks.stream.rabbit_server import RabbitServer, rabbit_server
from benchmarks.stream.shelves import QUEUE, SOURCE, live_placements, measured, shelves
from infra.installation import Installation, current
from infra.outages import explain
from models.errors import TailorbirdError

SEED: Final = 7
_QUEUE: Final = "benchmark"
_POLL_SECONDS: Final = 0.05
_LONGEST_SECONDS: Final = 300
_STORED: Final = text("SELECT count(*) FROM event_inbox")
_READY: Final = text("SELECT count(*) FROM streams")


def main() -> None:
    """Measure, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000)
    given = parser.parse_args()
    variables = os.environ.copy()
    with fresh("stream") as var:
        (var / "rabbit").mkdir()
        with rabbit_server(var / "rabbit") as broker:
            stored = _measured(current(), broker, given.events)
            os.environ.clear()
            os.environ.update(variables)
            current.cache_clear()
            publish("stream", stored | _of_shelves(broker, var), SEED)


def _measured(installation: Installation, broker: RabbitServer, events: int) -> dict[str, float]:
    bodies = singles("event", events)
    consumer = _consumer(broker)
    _wait(installation, _READY, 1)
    consumer.terminate()
    consumer.wait()
    asyncio.run(_filled(broker, [*bodies, *bodies[::10]]))
    consumer = _consumer(broker)
    _wait(installation, _STORED, 1)
    began = time.perf_counter()
    first = _count(installation, _STORED)
    _wait(installation, _STORED, events)
    seconds = time.perf_counter() - began
    peak = psutil.Process(consumer.pid).memory_info().rss / 2**20
    consumer.terminate()
    consumer.wait()
    figures = {"events_per_s": (events - first) / seconds, "consumer_mb": peak}
    return {**figures, **arrived(installation, events)}


def _of_shelves(broker: RabbitServer, var: Path) -> dict[str, float]:
    """Measure shelves while the services of the installation run; without them there are no figures."""
    os.environ["TAILORBIRD_PLACEMENTS"] = str(live_placements(var))
    try:
        here = current()
        with shelves(here.engine) as shop:
            consumer = _consumer(broker, QUEUE, SOURCE)
            try:
                _wait(here, text(f"SELECT count(*) FROM streams WHERE queue = '{QUEUE}'"), 1)
                figures = asyncio.run(measured(broker, shop))
                return {**figures, "shelves_consumer_mb": psutil.Process(consumer.pid).memory_info().rss / 2**20}
            finally:
                consumer.terminate()
                consumer.wait()
    except (TailorbirdError, SQLAlchemyError) as error:
        print(f"Shelves were not measured: {explain(error) or error}")
        return {}


def _consumer(broker: RabbitServer, queue: str = _QUEUE, source: str = "benchmark") -> "subprocess.Popen[bytes]":
    words = ["consume", broker.url, "--queue", queue, "--source", source]
    return subprocess.Popen([sys.executable, "-m", "flows", *words], env=os.environ.copy())


async def _filled(broker: RabbitServer, bodies: Sequence[bytes]) -> None:
    async with await aio_pika.connect(broker.url) as connection:
        exchange = (await connection.channel()).default_exchange
        for start in range(0, len(bodies), 1_000):
            part = [aio_pika.Message(body, delivery_mode=2) for body in bodies[start : start + 1_000]]
            await asyncio.gather(*(exchange.publish(message, _QUEUE) for message in part))


def _wait(installation: Installation, counted: TextClause, least: int) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    while _count(installation, counted) < least:
        if time.monotonic() > deadline:
            raise TimeoutError("The consumer is too slow.")
        time.sleep(_POLL_SECONDS)


def _count(installation: Installation, counted: TextClause) -> int:
    with installation.engine.connect() as connection:
        return int(connection.execute(counted).scalar_one())


if __name__ == "__main__":
    main()
