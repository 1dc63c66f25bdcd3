"""Senders and movers are killed, and Postgres is stopped, at any moment: every receipt is one event of the lake."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.database.engine import engine
from infra.installation import current
from infra.services.embedded_postgres import EmbeddedPostgres
from models.columns import LEDGER
from serving.events.spool import Spool
from tasks.ingest.inbox.move_inbox import NOW, move_inbox
from tests.tasks.ingest.inbox.api import Api
from tests.tasks.ingest.inbox.restartable import installed, restartable

ROUNDS = 12
PROGRAM = str(Path(__file__).with_name("storm_process.py"))


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with restartable(tmp_path_factory.mktemp("stormy")) as made:
        yield made


@pytest.mark.faults
def test_every_receipt_is_one_event_whatever_is_killed(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = installed(server, tmp_path / "var", monkeypatch)
    api = Api(current())
    api.rows("INSERT INTO items (item_id, attributes, available, batch_id) VALUES ('cup', '{}', true, 'b1')")
    spool, receipts = tmp_path / "spool", tmp_path / "receipts"
    address = url.replace("postgresql+psycopg2", "postgresql")
    commands = {
        "send": [sys.executable, PROGRAM, "send", address, str(spool), str(receipts), api.here.key.decode()],
        "move": [sys.executable, PROGRAM, "move"],
    }
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    running = {name: subprocess.Popen(command, env=environment) for name, command in commands.items()}
    rng = random.Random(11)  # noqa: S311
    try:
        for round_number in range(ROUNDS):
            time.sleep(rng.uniform(0.5, 4))
            victim = ("send", "move", "postgres")[round_number % 3]
            if victim == "postgres":
                server.stop()
                time.sleep(rng.uniform(0.2, 2))
                server.start()
            else:
                running[victim].send_signal(signal.SIGKILL)
                running[victim].wait()
                running[victim] = subprocess.Popen(commands[victim], env=environment)
        time.sleep(3)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    engine(url).dispose()
    acknowledged = receipts.read_text().split("\n")[:-1]
    left = Spool(spool, 2**24)
    assert left.state()["dropped"] == left.state()["refused"] == 0
    subprocess.run([sys.executable, "-c", _REPLAY, address, str(spool)], env=environment, check=True)
    end = time.monotonic() + 60
    # The transaction of a killed mover may hold rows for some seconds: a move passes over them.
    while move_inbox(current(), "events", NOW, wait=True) or (waiting(api) and time.monotonic() < end):
        time.sleep(0.2)
    ids = Counter(row["event_id"] for row in api.lake())
    assert len(acknowledged) > 100
    assert set(ids.values()) == {1}
    assert {f"api:m{number}" for number in acknowledged} <= ids.keys()
    counts = api.ledger()
    assert counts["read"] == sum(counts[name] for name in LEDGER if name != "read")
    assert counts["accepted"] == len(ids)
    assert waiting(api) == 0
    current.cache_clear()


def waiting(api: Api) -> int:
    number: int = api.rows("SELECT count(*) FROM event_inbox WHERE moved_at IS NULL")[0][0]
    return number


_REPLAY = """
import asyncio, sys, asyncpg
from pathlib import Path
from serving.events.writer import replay
from serving.events.spool import Spool

async def main():
    pool = await asyncpg.create_pool(sys.argv[1], min_size=0, max_size=2)
    await replay(pool, Spool(Path(sys.argv[2]), 2**24))

asyncio.run(main())
"""
