"""A consumer behind messages that are too large: it stores the sound ones behind them soon, in bounded memory."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.stream.rabbit_server import RabbitServer
from infra.database.engine import engine
from infra.installation import current
from infra.services.embedded_postgres import EmbeddedPostgres
from tests.faults.streams.test_stream_storm import postgres_of_storm, rabbit, until, without  # noqa: F401 -- fixtures
from tests.serving.stream.clicks import click
from tests.serving.stream.publishing import publish, waiting
from tests.tasks.ingest.inbox.api import Api
from tests.tasks.ingest.inbox.restartable import installed

LARGE, SOUND = 30, 50
BYTES = 15_000_000
MOST_MB = 350
"""Six of the large messages beside the program itself: the client assembles them from frames."""


class Consumer:
    """One consumer in a process of its own."""

    def __init__(self, url: str, queue: str, log: Path) -> None:
        with log.open("ab") as file:
            arguments = [sys.executable, "-m", "tests.serving.stream.consumer_process", url, queue, "0", "1"]
            self.process = subprocess.Popen(arguments, stdout=file, stderr=file)

    def peak_mb(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) // 1024


@contextmanager
def consuming(url: str, queue: str, log: Path) -> Iterator[Consumer]:
    consumer = Consumer(url, queue, log)
    try:
        yield consumer
    finally:
        consumer.process.kill()
        consumer.process.wait()


def test_sound_messages_behind_large_ones_are_stored_in_bounded_memory(
    rabbit: RabbitServer,  # noqa: F811
    postgres_of_storm: EmbeddedPostgres,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, queue, log = installed(postgres_of_storm, tmp_path / "var", monkeypatch), "large", tmp_path / "log"
    api = Api(current())
    with consuming(rabbit.url, queue, log):
        until(lambda: bool(api.rows("SELECT FROM streams")))
    for number in range(LARGE):  # one at a time, so that this process is small, too
        asyncio.run(publish(rabbit, queue, [b"%04d" % number + b"x" * BYTES]))
    asyncio.run(publish(rabbit, queue, [click(number) for number in range(SOUND)]))
    with consuming(rabbit.url, queue, log) as consumer:
        with without(postgres_of_storm, 2):  # what cannot be stored yet waits without its body
            time.sleep(5)
        began = time.monotonic()
        until(lambda: api.rows("SELECT count(*) AS n FROM event_inbox")[0].n == SOUND)
        until(lambda: asyncio.run(waiting(rabbit, queue)) == 0)
        assert time.monotonic() - began < 30
        assert consumer.peak_mb() < MOST_MB
    rows = api.rows("SELECT DISTINCT reason, length(body) AS bytes, count(*) OVER () AS n FROM identity.dead_letters")
    assert [(row.reason, row.bytes, row.n) for row in rows] == [("too_large", 4096, LARGE)]
    engine(url).dispose()
