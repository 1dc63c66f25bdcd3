"""PostgreSQL of the tests, to which faults happen."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from sqlalchemy import make_url

from infra.services.embedded_postgres import EmbeddedPostgres


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
