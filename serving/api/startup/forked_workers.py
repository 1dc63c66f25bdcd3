"""Runs several workers as copies of one process, which has loaded what they share (`loaded_once`).

They start in a moment, and share the memory of the champion. A copy is safe as long as the process has no thread and no
connection: the event loop, the connections and the threads of a worker are opened by the worker itself.

Workers that wait for the same socket get its connections by chance: of 32 one worker may get all, and its requests wait
while another worker is idle. Here a worker that has more connections than another lets the others go first.
"""

import asyncio
import errno
import gc
import logging
import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.context import ForkContext, ForkProcess
from socket import socket
from typing import Any, Final

from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import SIGNALS, Multiprocess, Process

_LOG: Final = logging.getLogger("uvicorn.error")
_FORK: Final = multiprocessing.get_context("fork")
_MOST_WORKERS: Final = 64
"""Further workers share a place: they are balanced less well."""
_UNUSED: Final = -1
_TURN: Final = 0.002
"""Seconds that a worker leaves to the others; after that it takes the connection, because they may be busy."""
_PAUSE: Final = 0.2
"""Seconds until the next attempt if the process has no descriptor left."""
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class OpenConnections:
    """The number of open connections of each worker, in memory that they share."""

    def __init__(self, fork: ForkContext) -> None:
        """Reserve the memory; call it before the first worker starts."""
        self._numbers: Any = fork.RawArray("i", [_UNUSED] * _MOST_WORKERS)
        self._owners: dict[int, ForkProcess] = {}

    def free_place(self) -> int:
        """Return a place for a worker that will start; places of workers that ended are free again."""
        for place, owner in list(self._owners.items()):
            if owner.exitcode is not None:
                self._numbers[place] = _UNUSED
                del self._owners[place]
        return next((place for place in range(_MOST_WORKERS) if place not in self._owners), _MOST_WORKERS - 1)

    def assign(self, place: int, owner: ForkProcess) -> None:
        """Give a place to a worker."""
        self._owners[place] = owner

    def state(self, place: int, number: int) -> None:
        """Store the number of a worker."""
        self._numbers[place] = number

    def is_ahead(self, place: int) -> bool:
        """Return whether a worker has more connections than another one."""
        return bool(self._numbers[place] > min(number for number in self._numbers[:] if number != _UNUSED))


@dataclass(eq=False)
class _Listener:
    """Accepts connections one by one, each in a round of the event loop of its own."""

    listening: socket
    connect: Callable[[socket], None]
    is_ahead: Callable[[], bool]
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _timer: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        self._listen()

    def close(self) -> None:
        """Accept nothing any more."""
        self._loop.remove_reader(self.listening)
        if self._timer:
            self._timer.cancel()

    async def wait_closed(self) -> None:
        """Return at once: nothing is left to wait for."""

    def _listen(self) -> None:
        self._loop.add_reader(self.listening, self._accept_in_turn)

    def _accept_in_turn(self) -> None:
        if self.is_ahead():
            self._wait(_TURN, self._accept_and_listen)
        else:
            self._accept()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self.listening)
        self._timer = self._loop.call_later(seconds, then)

    def _accept_and_listen(self) -> None:
        self._listen()
        self._accept()

    def _accept(self) -> None:
        try:
            accepted, _ = self.listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another worker was faster
            return
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            _LOG.warning("No connection can be accepted: %s.", error.strerror)
            self._wait(_PAUSE, self._listen)
            return
        accepted.setblocking(False)
        self.connect(accepted)


class _Counted(set[Any]):
    """The connections of this worker; their number is stored at each change."""

    def __init__(self, state: Callable[[int], None]) -> None:
        super().__init__()
        self._state = state
        state(0)

    def leave(self) -> None:
        """State no number any more."""
        self._state(_UNUSED)
        self._state = _forget

    def add(self, one: Any) -> None:
        super().add(one)
        self._state(len(self))

    def discard(self, one: Any) -> None:
        super().discard(one)
        self._state(len(self))


def _forget(_number: int) -> None:
    """Store no number: a worker that ends has no place any more."""


class BalancedServer(Server):
    """A server of one worker, which takes connections in turn with the others."""

    def __init__(self, config: Config, numbers: OpenConnections, place: int) -> None:
        """`place` is this worker's among the `numbers`."""
        super().__init__(config)
        self._numbers, self._place = numbers, place
        self._connecting: set[asyncio.Task[Any]] = set()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start the application, then accept connections of the sockets."""
        await super().startup([])
        self.server_state.connections = _Counted(partial(self._numbers.state, self._place))
        for one in sockets or []:
            one.listen(self.config.backlog)
            one.setblocking(False)
            listener: Any = _Listener(one, self._connect, partial(self._numbers.is_ahead, self._place))
            self.servers.append(listener)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Leave the place, then end the connections: nobody may wait for a worker that accepts nothing more."""
        own: Any = self.server_state.connections
        own.leave()
        await super().shutdown(sockets)

    def _connect(self, accepted: socket) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(self._protocol, accepted))
        self._connecting.add(task)  # the event loop itself would not keep it
        task.add_done_callback(self._connecting.discard)

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def run(config: Config) -> None:
    """Serve with the workers of a configuration until a signal arrives; a worker that dies is replaced."""
    gc.freeze()  # no worker writes to the pages of what is loaded already, of which a few megabytes are garbage
    _Workers(config, [config.bind_socket()]).run()


class _Worker(Process):
    """A worker that is a copy of this process; uvicorn's own imports everything again."""

    def __init__(self, config: Config, sockets: list[socket], numbers: OpenConnections) -> None:
        super().__init__(config, sockets)
        place = numbers.free_place()
        self._balanced = BalancedServer(config, numbers, place)
        forked: Any = _FORK.Process(target=self._serve, args=(sockets,))
        self.process = forked
        numbers.assign(place, forked)

    @property
    def server(self) -> BalancedServer:
        """Return the server that answers in this worker."""
        return self._balanced

    def _serve(self, sockets: list[socket]) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)  # those of the first process are no longer meant
        self.config.configure_logging()
        self.target(sockets)


class _Workers(Multiprocess):
    """Starts and replaces forked workers wherever uvicorn would start its own."""

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self._numbers = OpenConnections(_FORK)

    def init_processes(self) -> None:
        """Start all workers."""
        self.processes += [self._started() for _ in range(self.processes_num)]

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or hang. If one cannot start, end: another one could not either."""
        for place, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if worker.is_alive(timeout=self.config.timeout_worker_healthcheck):
                continue
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:
                _LOG.error("Child process [%s] failed to start, stopping the parent process.", worker.pid)
                self.should_exit.set()
                return
            _LOG.info("Child process [%s] died", worker.pid)
            self.processes[place] = self._started()

    def restart_all(self) -> None:
        """Replace each worker by one that is ready; a worker whose replacement cannot start stays."""
        for place, old in enumerate(self.processes):
            new = self._started()
            if not new.wait_until_ready(self.config.timeout_worker_healthcheck, self.should_exit):
                new.kill()
                new.join()
                _LOG.error("New child process [%s] was not ready in time; no more workers are replaced.", new.pid)
                return
            old.terminate()
            old.join()
            self.processes[place] = new

    def handle_ttin(self) -> None:
        """Start one more worker."""
        self.processes_num += 1
        self.processes.append(self._started())

    def terminate_all(self) -> None:
        """Let all workers end. The first process stops to listen as well: clients would wait for it until its end."""
        super().terminate_all()
        for listening in self.sockets:
            listening.close()

    def _started(self) -> _Worker:
        worker = _Worker(self.config, self.sockets, self._numbers)
        worker.start()
        return worker
