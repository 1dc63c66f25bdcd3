"""Starts services on free ports, and restarts them if their settings changed or another program took the port."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from infra.configuration.settings import Settings
from infra.services import ports, processes, state_file
from infra.services.endpoints import ServicesDownError
from infra.services.http_client import is_healthy
from infra.services.processes import Command, ProcessFailedError
from infra.services.state_file import Reporter, Service
from infra.supervisor import commands as servers

TITLES = {
    "postgres": "PostgreSQL",
    "prefect": "Prefect",
    "mlflow": "MLflow",
    "docs": "Data Docs",
    "api": "The API",
    "worker": "The worker",
    "reconciler": "The reconciler",
    "supervisor": "The supervisor",
}
_PORTS = {"prefect": 4200, "docs": 4210, "mlflow": 5000, "api": 8000}
_HEALTH = {"api": "/livez"}
"""The path that answers while the process works, if it is not /health."""
_LINE_EVERY = 3.0  # seconds between two lines while waiting
_MOST_MOVES = 20
"""Ports that a server tries before `up` gives up."""
_IN_USE = "address already in use"
"""The words in the log of a server that found its port taken."""


class Launcher:
    """Starts the services of one installation: `known` are the stored ones, `started` those of this `up`."""

    def __init__(self, settings: Settings, known: dict[str, Service], report: Reporter) -> None:
        self.settings = settings
        self.known = known
        self.report = report
        self.started: list[str] = []
        self._commands: dict[str, Callable[[int], Command]] = {}

    def server(self, name: str, command: Callable[[int], Command]) -> None:
        """Start a web server unless it runs with the same settings. `command` takes the port."""
        self._commands[name] = command
        known, required = self.known.get(name), self._required_port(name)
        preferred = required or (known.port if known else _PORTS[name])
        if known is not None and known.alive:
            if command(preferred).digest == known.digest:
                return
            if preferred != known.port:
                self._free_port(name, preferred)  # before the running one is stopped for it
        self._clear(name)
        self._start_server(name, self._free_port(name, preferred))

    def client(self, name: str, command: Command, before: Callable[[], None] | None = None) -> None:
        """Start a process without an address unless it runs with the same settings. `before` is called first."""
        known = self.known.get(name)
        if known is None or not known.alive or known.digest != command.digest:
            self._clear(name)
            if before is not None:
                before()
            self._launch(name, command, Service("", 0))

    def await_server(self, name: str) -> None:
        """Wait until the server answers; it moves to another port if another program took its port first."""
        for move in range(_MOST_MOVES if name in self._commands else 0):
            service = self.known[name]
            answers = self._reporting(f"Waiting for {_within_sentence(name)}", partial(_answers, name, service))
            try:
                self._wait(name, answers)
                break
            except ProcessFailedError as failure:
                if service.alive or move == _MOST_MOVES - 1:
                    raise
                processes.end_strays(servers.mark(self.settings, name))
                # The other program may have left the port again by now.
                if ports.is_free(service.port) and _IN_USE not in str(failure).lower():
                    raise
            self._start_server(name, self._free_port(name, service.port))

    def await_client(self, name: str) -> None:
        """Check that a process without an address still runs; one that cannot work has ended by now."""
        self._wait(name, lambda: self.known[name].alive)

    def report_if_gone(self, name: str) -> None:
        """Report a service that should run and does not."""
        known = self.known.get(name)
        if known is not None and known.running is not None and not known.alive:
            self.report(f"{TITLES[name]} is gone (a crash, or a restart of the machine); starting it again")

    def remember(self, name: str, service: Service) -> None:
        """Store the state of a service for the next command."""
        if self.known.get(name) != service:
            self.known[name] = service
            state_file.store(self.settings.var, self.known)

    def _start_server(self, name: str, port: int) -> None:
        path = "/api" if name == "prefect" else ""
        self._launch(name, self._commands[name](port), Service(f"http://{servers.HOST}:{port}{path}", port))

    def _required_port(self, name: str) -> int | None:
        """Return the port that the settings require."""
        port: int | None = getattr(self.settings, f"{name}_port")
        return port

    def _free_port(self, name: str, preferred: int) -> int:
        """Return the preferred port or the next free one; only the preferred one if the settings require it."""
        title, port = TITLES[name], ports.free(preferred)
        if port != preferred and self._required_port(name) is not None:
            raise ServicesDownError(ports.taken_message(title, preferred, f"TAILORBIRD_{name.upper()}_PORT"))
        if port != preferred:
            self.report(f"Port {preferred} is taken by another program; {title} uses {port}")
        return port

    def _clear(self, name: str) -> None:
        """Stop the old process, and the children of a killed one."""
        self.report_if_gone(name)
        known = self.known.get(name)
        if known is not None and known.alive:
            self.report(f"{TITLES[name]} runs with other settings; starting it again")
        if known is not None and known.running is not None:
            processes.stop(known.running, servers.mark(self.settings, name))
        else:
            processes.end_strays(servers.mark(self.settings, name))

    def _launch(self, name: str, command: Command, service: Service) -> None:
        port = f" on port {service.port}" if service.port else ""
        self.report(f"Starting {_within_sentence(name)}{port}")
        self.started.append(name)
        running = processes.start(command)
        self.remember(name, replace(service, running=running, digest=command.digest, settings=dict(command.reads)))

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        running = self.known[name].running
        if running is not None:
            processes.wait_until(ready, running, servers.log(self.settings, name))

    def _reporting(self, text: str, ready: Callable[[], bool]) -> Callable[[], bool]:
        began = last = time.monotonic()

        def check() -> bool:
            nonlocal last
            now = time.monotonic()
            if now - last > _LINE_EVERY:
                last = now
                self.report(f"{text} ({now - began:.0f} s)")
            return ready()

        return check


def _within_sentence(name: str) -> str:
    return TITLES[name].replace("The", "the")


def _answers(name: str, service: Service) -> bool:
    """Return whether the service's own process answers with success, and not another one on its port."""
    # Searching the sockets of a process takes 20 ms, which a server that still imports its modules would need more.
    if service.running is None or not ports.accepts(service.port):
        return False
    path = _HEALTH.get(name, "/health")
    return processes.listens(service.running, service.port) and is_healthy(f"{service.address}{path}")
