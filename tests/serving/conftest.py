"""Redis for the tests of serving, and users and items in a database."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, make_url

from infra.database.engine import engine as engine_of
from infra.services.embedded_postgres import EmbeddedPostgres
from tests.serving.events.inbox_database import InboxDatabase
from tests.serving.made_up_shop import stock


class RedisServer:
    """A Redis server of a test's own, which faults happen to."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        log = ["--logfile", str(self._folder / "redis.log"), "--maxmemory-policy", "noeviction"]
        self._process = subprocess.Popen(["redis-server", *options, *log])  # noqa: S607
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(OSError):
                assert self.ask("PING") == "+PONG"
                return
            time.sleep(0.01)
        raise AssertionError("redis-server does not start")

    def ask(self, command: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65536).decode().strip()

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Start a server once a session; a test that stops it starts it again."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    """Return the running server, empty."""
    redis_server.ask("FLUSHALL")
    redis_server.ask("CONFIG SET maxmemory 0")
    return redis_server


@pytest.fixture
def stocked(database: str) -> Iterator[tuple[str, Engine]]:
    """Return the address and the engine of a database with users, items and lists."""
    engine = engine_of(database)
    stock(engine)
    engine.dispose()
    yield database, engine
    engine.dispose()


@pytest.fixture
def inbox(database: str, postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[InboxDatabase]:
    """Return a database with an inbox, which a test can take away."""
    made = InboxDatabase(database, postgres, tmp_path / "spool")
    yield made
    made.come_back()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FaultyPostgres:
    """The session's server; after a fault it has to run again, at the same port."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._port = make_url(server.url()).port or 0

    def _processes(self) -> list[psutil.Process]:
        running = self._server.running()
        assert running is not None
        main = psutil.Process(running.pid)
        return [main, *main.children()]

    def stop(self, by: signal.Signals) -> None:
        """Stop it: SIGINT ends its connections, SIGQUIT is a crash."""
        main, *_ = self._processes()
        os.kill(main.pid, by)
        main.wait(20)

    def start(self) -> None:
        self._server.start(preferred_port=self._port)
        assert make_url(self._server.url()).port == self._port

    @contextmanager
    def paused(self) -> Iterator[None]:
        stopped = self._processes()
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                process.resume()
