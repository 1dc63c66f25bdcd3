"""A web server whose port was taken by a quicker program moves to the next one."""

import re
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
from infra.services import processes, state_file
from infra.services.processes import Command
from infra.supervisor import commands
from infra.supervisor.launcher import Launcher


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
def settings(tmp_path: Path) -> Iterator[Settings]:
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


def test_a_server_that_lost_its_port_takes_the_next_and_reports_it(settings: Settings) -> None:
    race = run(settings, thieves=2)
    service = state_file.load(settings.var)["docs"]
    assert service.alive
    assert service.port not in race.taken
    assert service.running is not None
    assert processes.listens(service.running, service.port)
    moved = r"Port \d+ is taken by another program; Data Docs uses \d+"
    assert len([line for line in race.lines if re.fullmatch(moved, line)]) >= 2
    again = Launcher(settings, state_file.load(settings.var), race.lines.append)
    again.server("docs", partial(commands.docs_command, settings))
    assert again.started == []


def test_a_server_whose_port_was_taken_for_a_moment_starts_all_the_same(settings: Settings) -> None:
    race = run(settings, thieves=1, leaves=True)
    assert race.taken
    assert state_file.load(settings.var)["docs"].alive
