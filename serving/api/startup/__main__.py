"""Runs the API of an installation: `python -m serving.api.startup --port 8000 --workers 2`."""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from typing import Final

from models.errors import TailorbirdError
from serving.api.gate.workers import prepare, share_metrics_of
from serving.http import API_PROTOCOL

_SERVER: Final = ("uvicorn", "serving.api.startup.installation")
"""What a server needs that does not load a champion."""
_LAST_SECONDS: Final = 10
"""The time for requests in flight after SIGTERM."""
_SHORT_SLICES: Final = ("chrt", "--other", "--sched-runtime", "100000", "--pid", "0")
"""Sets the slices of a process to the shortest, in nanoseconds, with util-linux 2.41 and Linux 6.12 or newer."""


def main() -> None:
    """Serve until a signal arrives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1, help="processes, which share the memory of the champion")
    given = parser.parse_args()
    prepare()
    take_short_slices()
    if given.workers > 1:
        share_metrics_of(os.getpid())
    try:
        _serve(given.host, given.port, given.workers)
    except TailorbirdError as error:
        sys.exit(str(error))


def take_short_slices() -> None:
    """Ask the scheduler to let this process, and threads and processes that it starts, run soon after they wake.

    Their share of the processors stays. Nothing changes under a policy that somebody chose, or where `chrt` refuses.
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(FileNotFoundError):
            subprocess.run([*_SHORT_SLICES, str(os.getpid())], check=False, capture_output=True)


def _serve(host: str, port: int, workers: int) -> None:
    from infra.configuration.settings import load
    from serving.api.startup.loaded_once import Shared, load_once

    with ThreadPoolExecutor(1) as pool:
        importing = [pool.submit(import_module, name) for name in _SERVER]  # while arrays are decompressed
        shared = load_once(load()) if workers > 1 else Shared()
        for one in importing:
            one.result()
    from uvicorn import Config, Server
    from uvicorn.config import STARTUP_FAILURE

    from serving.api.startup import forked_workers
    from serving.api.startup.installation import of_installation

    config = Config(
        lambda: of_installation(shared),
        factory=True,
        host=host,
        port=port,
        workers=workers,
        loop="uvloop",
        http=API_PROTOCOL,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    if workers > 1:
        forked_workers.run(config)
        return
    server = Server(config)
    server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    main()
