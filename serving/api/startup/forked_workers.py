"""Runs several workers as copies of one process, which has loaded what they share (`loaded_once`).

They start in a moment, and share the memory of the champion. A copy is safe as long as the process has no thread and no
connection: the event loop, the connections and the threads of a worker are opened by the worker itself.
"""

import gc
import logging
import multiprocessing
import signal
from socket import socket
from typing import Any, Final

from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import SIGNALS, Multiprocess, Process

from serving.api.startup.balanced_connections import BalancedServer, OpenConnections

_LOG: Final = logging.getLogger("uvicorn.error")
_FORK: Final = multiprocessing.get_context("fork")


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
