"""Starts the measured servers on free ports of this machine, and stops them."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from infra.services import ports
from infra.services.http_client import is_healthy
from models.errors import TailorbirdError

HOST: Final = "127.0.0.1"
_PATIENCE: Final = 60.0
_PROTOCOL: Final = "serving.bounded_httptools:BoundedHttpToolsProtocol"
_UVICORN: Final = ["--loop", "uvloop", "--http", _PROTOCOL, "--no-access-log", "--no-server-header"]


@dataclass(frozen=True)
class Server:
    """A running server."""

    address: str
    process: psutil.Process
    seconds: float
    """From the start of the process until it was ready."""

    def peak_mb(self) -> float:
        """Return the largest peak memory of one of its processes."""
        return max(_peak_mb(process.pid) for process in [self.process, *self.process.children(recursive=True)])


def uvicorn(application: str, port: int, workers: int) -> list[str]:
    """Return the command of an application under uvicorn, with the options of the product."""
    place = f"{application} --host {HOST} --port {port} --workers {workers}".split()
    return [sys.executable, "-m", "uvicorn", *place, *_UVICORN]


@contextmanager
def running(command: Sequence[str], port: int, ready: str, log: Path, variables: dict[str, str]) -> Iterator[Server]:
    """Start a server, wait until the path `ready` answers with success, and stop it at the end of the block."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started, address = time.perf_counter(), f"http://{HOST}:{port}"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=variables)
    try:
        while not is_healthy(f"{address}{ready}", 1):
            if process.poll() is not None or time.perf_counter() - started > _PATIENCE:
                raise TailorbirdError(f"{command[2]} did not start; its log is {log}.")
            time.sleep(0.02)
        yield Server(address, psutil.Process(process.pid), time.perf_counter() - started)
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        process.wait(30)
        for child in children:  # a server may leave its workers behind
            if child.is_running():
                child.terminate()


def free_port() -> int:
    """Return a port that no program uses."""
    return ports.free(18000)


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024
