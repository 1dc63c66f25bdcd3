"""Messages of RabbitMQ and Kafka reach the lake once, whatever is restarted, cut and killed on their way."""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.stream.rabbit_server import RabbitServer, is_installed, rabbit_server
from infra.database.engine import engine
from infra.installation import current
from infra.services.embedded_postgres import EmbeddedPostgres
from tests.serving.stream.clicks import REFUSES, click
from tests.serving.stream.publishing import publish, waiting
from tests.tasks.ingest.inbox.api import Api
from tests.tasks.ingest.inbox.restartable import installed, restartable

pytest.importorskip("faststream", reason="the extra `stream` is not installed")
from tests.faults.streams.buses import Bus, kafka_bus, rabbit_bus

QUEUE = "storm"
SECONDS = 240
LARGE, SOUND = 30, 50
BYTES = 15_000_000
MOST_MB = 350
"""Six of the large messages beside the program itself: the client assembles them from frames."""


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    if not is_installed():
        pytest.skip("rabbitmq-server is not installed")
    with rabbit_server(tmp_path_factory.mktemp("rabbit")) as server:
        yield server


@pytest.fixture
def postgres_of_storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with restartable(tmp_path_factory.mktemp("restarted")) as made:
        yield made


class Consumers:
    """Consumers, each started again when it dies. With a small `share` one dies before an acknowledgement."""

    def __init__(self, url: str, queue: str, log: Path, share: float, seed: int, many: int = 2) -> None:
        self._command = [sys.executable, "-m", "tests.serving.stream.consumer_process", url, queue, str(share)]
        self._log, self._seed, self._many = log, seed, many
        self.running: list[subprocess.Popen[bytes]] = []
        self.started = 0
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep)

    def __enter__(self) -> "Consumers":
        self.running = [self._start() for _ in range(self._many)]
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._keeper.join()
        for one in self.running:
            one.kill()
            one.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        self.started += 1
        with self._log.open("ab") as log:
            return subprocess.Popen([*self._command, f"{self._seed}-{self.started}"], stdout=log, stderr=log)

    def _keep(self) -> None:
        while not self._ended.wait(0.1):
            self.running = [one if one.poll() is None else self._start() for one in self.running]


@contextmanager
def without(server: EmbeddedPostgres, how: signal.Signals) -> Iterator[None]:
    """Stop PostgreSQL meanwhile; SIGQUIT is a crash."""
    found = server.running()
    assert found is not None
    main = psutil.Process(found.pid)
    port = int(server.url().rpartition(":")[2].partition("/")[0])
    os.kill(main.pid, how)
    main.wait(30)
    yield
    server.start(preferred_port=port)


@dataclass(frozen=True)
class Messages:
    """Sound messages, some of them repeated, and those that can only be dead letters."""

    number: int
    bodies: list[bytes]
    letters: list[tuple[str, bytes]]
    conflicts: list[tuple[str, bytes]]
    """Dead letters too, once the sound ones are stored."""


def messages(number: int, chance: random.Random, *, counts_repeats: bool) -> Messages:
    sound = [
        click(one, ("cup", "pan")[one % 2], f"user {one % 50}", minutes=chance.choice((0, 1, 30, 600, 9000)))
        for one in range(number)
    ]
    bad = [b'{"broken": %d' % one for one in range(number // 100)]
    repeats = chance.choices(bad, k=len(bad))
    poison = [click(one, messageId=f"poison {one}") for one in range(2)]
    conflicts = [click(one, "another", f"user {one % 50}") for one in range(0, number, 100)]
    bodies = [*sound, *chance.choices(sound, k=number // 5), *bad, *repeats, *poison]
    chance.shuffle(bodies)
    malformed = bad + repeats if counts_repeats else bad
    letters = [("malformed", one) for one in malformed] + [("poison", one) for one in poison]
    return Messages(number, bodies, letters, [("id_conflict", one) for one in conflicts])


def storm(bus: Bus, server: EmbeddedPostgres, var: Path, seed: int, number: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    sent = messages(number, chance, counts_repeats=bus.counts_repeats)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        url = installed(server, var, patch)
        stack.callback(lambda: engine(url).dispose())
        api = Api(current())
        api.rows(
            "INSERT INTO items (item_id, attributes, available, batch_id) "
            "VALUES ('cup', '{}', true, 'b'), ('pan', '{}', true, 'b')"
        )
        api.rows(REFUSES)
        share = bus.deadly_share(number)
        consumers = stack.enter_context(Consumers(bus.url, bus.queue, var.with_suffix(".log"), share, seed))
        until(lambda: bool(api.rows("SELECT FROM streams")))
        deeds: list[Callable[[], None]] = [
            *bus.faults(chance),
            lambda: restarted(server, chance),
            lambda: consumers.running[0].kill(),
        ]
        chance.shuffle(deeds)
        for first, deed in enumerate(deeds):
            bus.publish(sent.bodies[first :: len(deeds)])
            time.sleep(chance.random())  # the moment of the fault is random
            deed()
        until(lambda: _settled(api, number, len(sent.letters)))
        bus.publish([body for _, body in sent.conflicts])
        until(lambda: _settled(api, number, len(sent.letters) + len(sent.conflicts)))
        until(bus.is_done)
        check(api, sent)


def restarted(server: EmbeddedPostgres, chance: random.Random) -> None:
    with without(server, chance.choice((signal.SIGINT, signal.SIGQUIT))):
        time.sleep(chance.random())


def _settled(api: Api, number: int, letters: int) -> bool:
    rows = api.rows(
        "SELECT (SELECT count(*) FROM event_inbox) AS stored, (SELECT count(*) FROM identity.dead_letters) AS letters"
    )
    return (rows[0].stored, rows[0].letters) == (number, letters)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with suppress(SQLAlchemyError, OSError):
            if holds():
                return
        time.sleep(0.2)
    raise AssertionError("it took too long")


def check(api: Api, sent: Messages) -> None:
    """Every effect happened once, and the ledger is exact."""
    rows = api.rows("SELECT reason, body FROM identity.dead_letters")
    assert sorted((row.reason, bytes(row.body)) for row in rows) == sorted(sent.letters + sent.conflicts)
    api.move()
    assert sorted(row["event_id"] for row in api.lake()) == sorted(f"bus:m{one}" for one in range(sent.number))
    ledger = api.ledger()
    assert ledger == {**dict.fromkeys(ledger, 0), "read": sent.number, "accepted": sent.number}, api.state()


@pytest.fixture(params=["rabbitmq", "kafka"])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], AbstractContextManager[Bus]]:
    """Return the function that makes the queue or topic of a storm with a seed."""
    if request.param == "kafka":
        return lambda _: kafka_bus(tmp_path)
    server = request.getfixturevalue("rabbit")
    return lambda seed: rabbit_bus(server, f"{QUEUE}-{seed}")


def test_a_short_storm(bus: Any, postgres_of_storm: EmbeddedPostgres, tmp_path: Path, seed: int) -> None:
    with bus(seed) as made:
        storm(made, postgres_of_storm, tmp_path / "var", seed, 1_000)


@pytest.mark.faults
@pytest.mark.parametrize("nth", range(20))
def test_ten_thousand_messages(
    bus: Any, postgres_of_storm: EmbeddedPostgres, tmp_path: Path, seed: int, nth: int
) -> None:
    with bus(1_000 * seed + nth) as made:
        storm(made, postgres_of_storm, tmp_path / "var", 1_000 * seed + nth, 10_000)


def peak_mb(process: subprocess.Popen[bytes]) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def test_sound_messages_behind_large_ones_are_stored_in_bounded_memory(
    rabbit: RabbitServer,
    postgres_of_storm: EmbeddedPostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, queue, log = installed(postgres_of_storm, tmp_path / "var", monkeypatch), "large", tmp_path / "log"
    api = Api(current())
    with Consumers(rabbit.url, queue, log, 0, 1, many=1):
        until(lambda: bool(api.rows("SELECT FROM streams")))
    for number in range(LARGE):  # one at a time, so that this process is small, too
        asyncio.run(publish(rabbit, queue, [b"%04d" % number + b"x" * BYTES]))
    asyncio.run(publish(rabbit, queue, [click(number) for number in range(SOUND)]))
    with Consumers(rabbit.url, queue, log, 0, 1, many=1) as consumers:
        with without(postgres_of_storm, 2):  # what cannot be stored yet waits without its body
            time.sleep(5)
        began = time.monotonic()
        until(lambda: api.rows("SELECT count(*) AS n FROM event_inbox")[0].n == SOUND)
        until(lambda: asyncio.run(waiting(rabbit, queue)) == 0)
        assert time.monotonic() - began < 30
        assert consumers.started == 1
        assert peak_mb(consumers.running[0]) < MOST_MB
    rows = api.rows("SELECT DISTINCT reason, length(body) AS bytes, count(*) OVER () AS n FROM identity.dead_letters")
    assert [(row.reason, row.bytes, row.n) for row in rows] == [("too_large", 4096, LARGE)]
    engine(url).dispose()
