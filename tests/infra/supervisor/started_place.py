"""An installation with dummy flows whose real servers are started once, and its Prefect."""

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from infra.configuration.settings import Settings
from infra.services import state_file
from infra.services.embedded_postgres import EmbeddedPostgres
from infra.services.endpoints import Endpoints
from infra.services.http_client import basic_auth, request_json
from infra.services.processes import Command
from infra.supervisor import commands, startup
from tests.killed_services import kill_services
from tests.memory import postgres_in_memory
from tests.small_prefect import SMALL_PREFECT

ROOT = Path(__file__).resolve().parents[3]
FLOWS = re.findall(r"flows/(\w+)\.py", (ROOT / "prefect.yaml").read_text())
FLOW = '''
import os, time
from prefect import flow

from infra.configuration.settings import load

@flow
def {name}(seconds: float = 0.0) -> None:
    """Pretends to {name}."""
    print("ran {name} in", os.getcwd(), "for", os.environ["TAILORBIRD_VAR"], flush=True)
    print("{name} used the placements in", load().placements or "no file", flush=True)
    time.sleep(seconds)
'''
NO_ADDRESSES: dict[str, Any] = {"database_url": None, "prefect_api_url": None, "mlflow_tracking_uri": None}


@dataclass
class Place:
    """An installation in a temporary folder, with dummy flows, and the output of its `up`."""

    settings: Settings
    lines: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)
    running: Endpoints | None = None
    """The addresses if the last command was an `up` with these settings."""

    def up(self, *, demo: bool = False, **changes: Any) -> Endpoints:
        self.lines.clear()
        self.running = None
        result = startup.start(self.settings.model_copy(update=changes), self.lines.append, demo=demo)
        self.running = None if changes or demo else result
        return result

    def down(self) -> None:
        self.lines.clear()
        self.running = None
        startup.stop(self.settings, self.lines.append)

    def pids(self) -> dict[str, int | None]:
        known = state_file.load(self.settings.var)
        return {name: service.running.pid if service.running else None for name, service in known.items()}

    def kill(self, name: str) -> None:
        self.running = None
        running = state_file.load(self.settings.var)[name].running
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        while running.alive:
            time.sleep(0.01)


@contextmanager
def port_stolen_from_mlflow() -> Iterator[None]:
    """Another program takes the port that MLflow was to have, in the last moment."""
    command, stack = commands.mlflow_command, ExitStack()
    stolen: list[int] = []

    def late(settings: Settings, database: URL, port: int) -> Command:
        if not stolen:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
            stolen.append(port)
        return command(settings, database, port)

    with pytest.MonkeyPatch.context() as patch, stack:
        patch.setattr(commands, "mlflow_command", late)
        yield


@contextmanager
def started_place(home: Path) -> Iterator[Place]:
    """Start all services of a fresh installation, while other programs have its usual ports; end them at the end."""
    shutil.copy(ROOT / "prefect.yaml", home)
    (home / "flows").mkdir()
    for name in FLOWS:
        (home / "flows" / f"{name}.py").write_text(FLOW.format(name=name))
    place = Place(Settings(var=home / "var", home=home, **NO_ADDRESSES))
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in SMALL_PREFECT.items():
            patch.setenv(name, value)
        for port in (4200, 4210, 5000, 8000):  # somebody else's, unless they are taken already
            try:
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
        stack.enter_context(postgres_in_memory(place.settings.var))
        stack.callback(EmbeddedPostgres(place.settings.var).destroy)
        stack.callback(kill_services, place.settings.var)
        with port_stolen_from_mlflow():
            place.up()
        place.first = list(place.lines)
        yield place


def prefect(endpoints: Endpoints, method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": basic_auth(endpoints.environment["PREFECT_API_AUTH_STRING"])}
    return request_json(method, endpoints.prefect_api_url + path, headers, body)


def begin(endpoints: Endpoints, name: str, seconds: float = 0) -> str:
    deployment = prefect(endpoints, "GET", f"/deployments/name/{name}/{name}")
    run = {"parameters": {"seconds": seconds}, "state": {"type": "SCHEDULED"}}
    return str(prefect(endpoints, "POST", f"/deployments/{deployment['id']}/create_flow_run", run)["id"])


def wait_for(endpoints: Endpoints, run: str, expected: str) -> None:
    deadline = time.monotonic() + 120
    while (seen := prefect(endpoints, "GET", f"/flow_runs/{run}")["state"]["type"]) != expected:
        assert time.monotonic() < deadline, f"the run is still {seen}"
        time.sleep(0.2)
