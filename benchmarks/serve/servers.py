"""Starts the measured servers on free ports of this machine, and stops them."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from infra.services import ports
from models.errors import TailorbirdError
from serving.http import API_PROTOCOL

HOST: Final = "127.0.0.1"
_PATIENCE: Final = 60.0
_UVICORN: Final = ["--loop", "uvloop", "--http", API_PROTOCOL, "--no-access-log", "--no-server-header"]


@dataclass(frozen=True)
class Ready:
    """The request that a server answers once it is ready."""

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    text: bytes = b""
    """A part of the answer."""

    def answered(self, address: str) -> bool:
        """Return whether the server answers as it should."""
        request = urllib.request.Request(f"{address}{self.path}", headers=dict(self.headers))  # noqa: S310
        with suppress(OSError), urllib.request.urlopen(request, timeout=1) as answer:  # noqa: S310
            return self.text in answer.read()
        return False


@dataclass(frozen=True)
class Server:
    """A running server."""

    address: str
    process: psutil.Process
    seconds: float
    """From the start of the process until it was ready."""

    def peak_mb(self) -> float:
        """Return the largest peak memory of one of its processes; what they share counts in each."""
        return max(_mb(process.pid, "status", "VmHWM:") for process in self._processes())

    def own_mb(self) -> float:
        """Return the present memory of its workers, on average; what processes share is divided among them."""
        children = self.process.children() or [self.process]
        return sum(_mb(process.pid, "smaps_rollup", "Pss:") for process in children) / len(children)

    def _processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


def uvicorn(application: str, port: int, workers: int) -> list[str]:
    """Return the command of an application under uvicorn, with the options of the product."""
    place = f"{application} --host {HOST} --port {port} --workers {workers}".split()
    return [sys.executable, "-m", "uvicorn", *place, *_UVICORN]


def api(port: int, workers: int) -> list[str]:
    """Return the command of the API."""
    return [sys.executable, "-m", "serving.api.startup", *f"--host {HOST} --port {port} --workers {workers}".split()]


@contextmanager
def running(command: Sequence[str], port: int, ready: Ready, log: Path, variables: dict[str, str]) -> Iterator[Server]:
    """Start a server, wait until it is ready, and stop it at the end of the block."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started, address = time.perf_counter(), f"http://{HOST}:{port}"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=variables)
    try:
        while not ready.answered(address):
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


def _mb(pid: int, file: str, name: str) -> float:
    """Return a figure that Linux states of a process in kB."""
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
