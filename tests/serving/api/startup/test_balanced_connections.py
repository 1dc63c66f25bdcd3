"""Workers take connections in turn, whatever happens to one of them."""

import asyncio
import errno
import multiprocessing
import socket
from collections.abc import Callable, Iterator

import pytest
from uvicorn import Config

from serving.api.startup.forked_workers import BalancedServer, OpenConnections, _Listener

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        one.setblocking(False)
        yield one


class ExhaustedOnce:
    """A socket of a process without free descriptors, which has one later."""

    def __init__(self, real: socket.socket) -> None:
        self.real, self.attempts = real, 0

    def fileno(self) -> int:
        return self.real.fileno()

    def accept(self) -> tuple[socket.socket, object]:
        self.attempts += 1
        if self.attempts == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.real.accept()


def accepted(one: socket.socket | ExhaustedOnce, is_ahead: Callable[[], bool]) -> bool:
    """Return whether a client's connection is taken within seconds."""

    async def work() -> bool:
        taken: asyncio.Queue[socket.socket] = asyncio.Queue()
        listener = _Listener(one, taken.put_nowait, is_ahead)  # type: ignore[arg-type]
        real = one.real if isinstance(one, ExhaustedOnce) else one
        with socket.create_connection(real.getsockname()):
            connection = await asyncio.wait_for(taken.get(), 5)
        connection.close()
        listener.close()
        return taken.empty()

    return asyncio.run(work())


def test_the_place_of_a_worker_that_died_is_free_and_holds_nobody_back() -> None:
    numbers = OpenConnections(FORK)
    dead = FORK.Process(target=int)
    numbers.assign(numbers.free_place(), dead)
    numbers.state(0, 0)
    numbers.state(1, 5)
    assert numbers.free_place() == 1  # it has not ended, as far as is known
    dead.start()
    dead.join()
    assert numbers.free_place() == 0
    assert not numbers.is_ahead(1)


def test_a_worker_that_ends_holds_nobody_back(listening: socket.socket) -> None:
    numbers = OpenConnections(FORK)
    numbers.state(1, 2)

    async def no_application(_scope: object, _receive: object, _send: object) -> None:
        """Answer nothing."""

    async def work() -> None:
        config = Config(no_application, lifespan="off")
        config.load()
        server = BalancedServer(config, numbers, 0)
        server.lifespan = config.lifespan_class(config)
        await server.startup([listening])
        assert numbers.is_ahead(1)
        await server.shutdown()
        server.server_state.connections.discard(object())  # type: ignore[arg-type]

    asyncio.run(work())
    assert not numbers.is_ahead(1)


def test_a_connection_that_no_other_worker_takes_is_taken_by_one_that_is_ahead(listening: socket.socket) -> None:
    assert accepted(listening, lambda: True)


def test_a_process_without_free_descriptors_tries_again(
    listening: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    assert accepted(ExhaustedOnce(listening), lambda: False)
    assert "No connection can be accepted: Too many open files." in caplog.text
