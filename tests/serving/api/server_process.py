"""A real server process, started as the product starts it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from serving.http import API_PROTOCOL

ROOT = Path(__file__).parents[3]
_PATIENCE = 60.0


@dataclass
class ServerProcess:
    """A running server."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def serving(
    application: str, variables: Mapping[str, str], log: Path, *more: str, port: int = 0
) -> Iterator[ServerProcess]:
    """Start uvicorn, by default on a free port; wait until it is ready; stop it at the end."""
    options = ["--loop", "uvloop", "--http", API_PROTOCOL, "--no-access-log", "--no-server-header"]
    with _running(["uvicorn", "--factory", application, *more, *options], variables, log, port) as server:
        yield server


@contextmanager
def installation_api(
    workers: int, variables: Mapping[str, str], log: Path, module: str = "serving.api.startup"
) -> Iterator[ServerProcess]:
    """Start the API as `tailorbird up` starts it."""
    with _running([module, "--workers", str(workers)], variables, log) as server:
        yield server


@contextmanager
def _running(module: Sequence[str], variables: Mapping[str, str], log: Path, port: int = 0) -> Iterator[ServerProcess]:
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", *module, "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    server = ServerProcess(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait(server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: ServerProcess) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        assert server.process.poll() is None, server.log.read_text()
        with suppress(httpx.TransportError):
            if httpx.get(f"{server.address}/readyz", timeout=2).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(server.log.read_text())
