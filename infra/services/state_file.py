"""What `up` remembers in <var>/services.json: who runs, since when, under which address. No passwords."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infra.services.processes import Running

Reporter = Callable[[str], None]


@dataclass(frozen=True)
class Service:
    """One service of ours. After `down` it has an address but no process, so that it comes back where it was."""

    address: str
    port: int
    running: Running | None = None
    digest: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    """What it was started with, without passwords."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.running is not None and self.running.alive


def load(var: Path) -> dict[str, Service]:
    """Services by name; empty before the first start, or when the file cannot be read."""
    try:
        stored = json.loads((var / "services.json").read_text())
        return {name: _service(**fields) for name, fields in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def store(var: Path, services: dict[str, Service]) -> None:
    """Replace the file in one step."""
    draft = var / f".services.{os.getpid()}.json"
    draft.write_text(json.dumps({name: asdict(service) for name, service in services.items()}, indent=2) + "\n")
    draft.chmod(0o600)
    draft.replace(var / "services.json")


@contextmanager
def locked(var: Path, say: Reporter) -> Iterator[None]:
    """Only one `up` or `down` works on a var folder at a time; another one says that it waits, and waits."""
    var.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (var / "services.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another `tailorbird up` or `down` is at work here; waiting for it to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _service(
    address: str, port: int, running: dict[str, Any] | None, digest: str, settings: dict[str, str] | None = None
) -> Service:
    process = Running(int(running["pid"]), running["created"], running.get("mark", "")) if running else None
    return Service(address, port, process, digest, settings or {})
