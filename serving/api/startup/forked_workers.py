"""Runs several workers as copies of one process, which has loaded what they share (`loaded_once`).

They start in a moment, and share the memory of the champion. A copy is safe as long as the process has no thread and no
connection: the event loop, the connections and the threads of a worker are opened by the worker itself.
"""

import gc
import multiprocessing
import signal
from collections.abc import Callable
from functools import partial
from socket import socket
from typing import Any, Final

from uvicorn import Config
from uvicorn.supervisors import multiprocess

from serving.api.startup.balanced_connections import BalancedServer, OpenConnections

_FORK: Final = multiprocessing.get_context("fork")


def run(config: Config) -> None:
    """Serve with the workers of a configuration until a signal arrives; a worker that dies is replaced."""
    gc.freeze()  # no worker writes to the pages of what is loaded already, of which a few megabytes are garbage
    multiprocess.get_subprocess = partial(_forked, OpenConnections(_FORK))  # type: ignore[attr-defined]
    _Workers(config, [config.bind_socket()]).run()


class _Workers(multiprocess.Multiprocess):
    """Workers whose first process stops to listen when they do: otherwise clients would wait for it until its end."""

    def terminate_all(self) -> None:
        """Let all workers end."""
        super().terminate_all()
        for listening in self.sockets:
            listening.close()


def _forked(numbers: OpenConnections, config: Config, target: Callable[..., None], sockets: list[socket]) -> Any:
    """Return a worker that is not started yet, in place of uvicorn's, which import everything again."""
    server = partial(BalancedServer, numbers=numbers, place=(place := numbers.free_place()))
    worker = _FORK.Process(target=_serve, args=(config, target, sockets, server))
    numbers.assign(place, worker)
    return worker


def _serve(
    config: Config, target: Callable[..., None], sockets: list[socket], server: Callable[..., BalancedServer]
) -> None:
    multiprocess.Server = server  # type: ignore[attr-defined, assignment]
    for number in multiprocess.SIGNALS:
        signal.signal(number, signal.SIG_DFL)  # those of the first process are no longer meant
    config.configure_logging()
    target(sockets=sockets)
