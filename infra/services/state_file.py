"""Stores the services that `up` started in <var>/services.json: processes, start times and addresses. No passwords."""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from infra.private_files.folders import replace_file
from infra.services.processes import Running
from models.primitives.json_types import JsonObject

NAME: Final = "services.json"
Reporter = Callable[[str], None]
"""Prints a message to the user."""


@dataclass(frozen=True)
class Service:
    """One own service. After `down` it keeps its address without a process, so that it starts at the same port."""

    address: str
    port: int
    running: Running | None = None
    digest: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    """The settings at its start, without passwords."""

    @property
    def alive(self) -> bool:
        """Return whether its process runs."""
        return self.running is not None and self.running.alive


def load(var: Path) -> dict[str, Service]:
    """Return services by name; empty before the first start, or when the file cannot be read."""
    try:
        stored = json.loads((var / NAME).read_text())
        return {name: _service(**fields) for name, fields in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def gone(var: Path) -> list[str]:
    """Return the names of the services that ended without `down`."""
    return [name for name, service in load(var).items() if service.running is not None and not service.alive]


def store(var: Path, services: dict[str, Service]) -> None:
    """Replace the file in one step."""
    content = json.dumps({name: asdict(service) for name, service in services.items()}, indent=2)
    replace_file(var / NAME, f"{content}\n".encode())


@contextmanager
def locked(var: Path, report: Reporter) -> Iterator[None]:
    """Lock a var folder for one `up` or `down`; a second one reports that it waits."""
    var.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (var / "services.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Another `tailorbird up` or `down` is at work here; waiting for it to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _service(
    address: str, port: int, running: JsonObject | None, digest: str, settings: dict[str, str] | None = None
) -> Service:
    process = Running(int(running["pid"]), running["created"], running.get("mark", "")) if running else None
    return Service(address, port, process, digest, settings or {})
