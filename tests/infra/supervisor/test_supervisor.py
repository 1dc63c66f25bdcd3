"""A service that ends is started again, after growing pauses, and an alert waits for Prefect."""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from infra.configuration.settings import Settings
from infra.prefect_api import events
from infra.services import processes, state_file
from infra.services.processes import Command
from infra.supervisor import commands
from infra.supervisor.launcher import Launcher
from infra.supervisor.supervisor import Supervisor
from tests.recording_server import RecordingServer


@pytest.fixture
def recorder() -> Iterator[RecordingServer]:
    with RecordingServer() as received:
        yield received


@pytest.fixture
def settings(tmp_path: Path, recorder: RecordingServer) -> Iterator[Settings]:
    """An installation with Data Docs, which needs no other service, and with servers of others."""
    others = {"database_url": "postgresql://127.0.0.1:9/none", "mlflow_tracking_uri": recorder.url}
    settings = Settings(var=tmp_path, prefect_api_url=f"{recorder.url}/api", **others)
    launcher = Launcher(settings, {}, print)
    launcher.server("docs", partial(commands.docs_command, settings))
    yield settings
    processes.end_strays(commands.mark(settings, "docs"))


def pid(settings: Settings) -> int:
    running = state_file.load(settings.var)["docs"].running
    assert running is not None
    return running.pid


def kill(settings: Settings) -> None:
    os.kill(pid(settings), signal.SIGKILL)
    while state_file.load(settings.var)["docs"].alive:
        pass


def test_pauses_grow_the_third_end_is_an_alert_and_calm_makes_the_next_end_the_first(
    settings: Settings, recorder: RecordingServer
) -> None:
    supervisor, began = Supervisor(settings, print), 1_000.0
    times = [began, began + 10, began + 30, began + 70]
    for number, at in enumerate(times, 1):
        before = pid(settings)
        kill(settings)
        if number > 1:
            supervisor.look(at - 0.1)
            assert pid(settings) == before, "it was started a moment ago"
        supervisor.look(at)
        assert pid(settings) != before
        assert len(recorder.events()) == (number >= 3)
    [event] = recorder.events()
    assert event["event"] == events.SERVICE
    assert "Data Docs ended 3 times within 30 seconds" in event["payload"]["reason"]
    assert str(commands.log(settings, "docs")) in event["payload"]["reason"]
    for at in (times[-1] + 1_000, times[-1] + 1_010):
        before = pid(settings)
        kill(settings)
        supervisor.look(at)
        assert pid(settings) != before


def test_an_alert_waits_until_prefect_takes_it(settings: Settings, recorder: RecordingServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/api"
    here = settings.model_copy(update={"prefect_api_url": nobody})
    supervisor = Supervisor(here, print)
    for at in (1_000.0, 1_100.0, 1_200.0):
        kill(settings)
        supervisor.look(at)
    assert recorder.events() == []
    supervisor._settings = settings  # Prefect is back
    supervisor.look(1_201.0)
    supervisor.look(1_202.0)
    assert len(recorder.events()) == 1


def test_a_service_that_does_not_start_is_reported_and_tried_again(settings: Settings) -> None:
    lines: list[str] = []
    supervisor, port = Supervisor(settings, lines.append), state_file.load(settings.var)["docs"].port
    required = Supervisor(settings.model_copy(update={"docs_port": port}), lines.append)
    kill(settings)
    with socket.create_server(("127.0.0.1", port)):
        required.look(1_000.0)
    assert "Data Docs did not start: " in lines[-1]
    assert f"Port {port} for Data Docs is in use by another program." in lines[-1]
    assert state_file.gone(settings.var) == ["docs"]
    supervisor.look(1_010.0)
    assert state_file.gone(settings.var) == []


def test_a_service_that_down_stopped_stays_stopped(settings: Settings) -> None:
    state = state_file.load(settings.var)
    kill(settings)
    state_file.store(settings.var, {"docs": state_file.Service(state["docs"].address, state["docs"].port)})
    Supervisor(settings, print).look(1_000.0)
    assert state_file.load(settings.var)["docs"].running is None


class Race:
    """A launcher of Data Docs, and another program that takes each of the first ports in the last moment."""

    def __init__(self, settings: Settings, thieves: int) -> None:
        self.settings = settings
        self.lines: list[str] = []
        self.taken: list[int] = []
        self.leaves = False
        """Whether the other program gives the port back as soon as the server has failed."""
        self.stack = ExitStack()
        self.launcher = Launcher(settings, state_file.load(settings.var), self.lines.append)
        self._thieves = thieves

    def command(self, port: int) -> Command:
        if len(self.taken) < self._thieves:
            thief = self.stack.enter_context(socket.create_server(("127.0.0.1", port)))
            self.taken.append(port)
            if self.leaves:
                Thread(target=self._leave, args=(thief,), daemon=True).start()
        return commands.docs_command(self.settings, port)

    def _leave(self, thief: socket.socket) -> None:
        log = commands.log(self.settings, "docs")
        while not log.exists() or "address already in use" not in log.read_text():
            time.sleep(0.002)
        thief.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(var=tmp_path, database_url=None, prefect_api_url=None, mlflow_tracking_uri=None)
    yield settings
    processes.end_strays(commands.mark(settings, "docs"))


def run(settings: Settings, thieves: int, *, leaves: bool = False, **changes: Any) -> Race:
    race = Race(settings.model_copy(update=changes), thieves)
    race.leaves = leaves
    with race.stack:
        race.launcher.server("docs", race.command)
        race.launcher.await_server("docs")
    return race


def test_a_server_that_lost_its_port_takes_the_next_and_reports_it(own: Settings) -> None:
    race = run(own, thieves=2)
    service = state_file.load(own.var)["docs"]
    assert service.alive
    assert service.port not in race.taken
    assert service.running is not None
    assert processes.listens(service.running, service.port)
    moved = r"Port \d+ is taken by another program; Data Docs uses \d+"
    assert len([line for line in race.lines if re.fullmatch(moved, line)]) >= 2
    again = Launcher(own, state_file.load(own.var), race.lines.append)
    again.server("docs", partial(commands.docs_command, own))
    assert again.started == []


def test_a_server_whose_port_was_taken_for_a_moment_starts_all_the_same(own: Settings) -> None:
    race = run(own, thieves=1, leaves=True)
    assert race.taken
    assert state_file.load(own.var)["docs"].alive
