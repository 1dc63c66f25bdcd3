"""A killed service is started again within ten seconds, and the others go on; two installations may start at once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.services import state_file
from infra.services.embedded_postgres import EmbeddedPostgres
from infra.services.endpoints import endpoints
from infra.supervisor.probes import reachable
from tests.infra.supervisor.started_place import Place, prefect, started_place
from tests.waiting import until

SECONDS = 10
ALL = ("postgres", "prefect", "mlflow", "docs", "api", "worker", "reconciler")
WEB = ("prefect", "mlflow", "docs", "api")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with started_place(tmp_path_factory.mktemp("home")) as place:
        yield place


@pytest.mark.parametrize("name", ALL)
def test_a_killed_service_runs_again_soon_and_no_other_was_touched(place: Place, name: str) -> None:
    before = place.pids()
    place.kill(name)
    until(lambda: state_file.load(place.settings.var)[name].alive, SECONDS)
    assert {key for key, pid in place.pids().items() if before[key] != pid} == {name}
    until(lambda: all(reachable(place.settings).values()), 60)


def test_a_killed_supervisor_takes_nothing_down_and_the_next_up_starts_it_again(place: Place) -> None:
    before = place.pids()
    place.kill("supervisor")
    assert all(state_file.load(place.settings.var)[name].alive for name in ALL)
    assert all(reachable(place.settings).values())
    place.up()
    assert "Starting the supervisor" in place.lines
    assert {key for key, pid in place.pids().items() if before[key] != pid} == {"supervisor"}
    place.up()
    assert place.lines == ["Everything is already running"]


def test_services_that_are_killed_together_all_come_back(place: Place) -> None:
    for service in [state_file.load(place.settings.var)[name] for name in ALL]:
        assert service.running is not None
        os.kill(service.running.pid, signal.SIGKILL)
    until(lambda: state_file.gone(place.settings.var) != [], SECONDS)
    until(lambda: state_file.gone(place.settings.var) == [], 60)
    until(lambda: all(reachable(place.settings).values()), 60)
    prefect(endpoints(place.settings), "GET", "/work_pools/tailorbird")


def test_after_down_nothing_comes_back(place: Place) -> None:
    place.kill("api")  # which the supervisor may be starting at this moment
    place.down()
    assert place.lines[-1].startswith("Stopped: The supervisor, The worker")
    time.sleep(5)
    assert state_file.gone(place.settings.var) == []
    assert set(reachable(place.settings).values()) == {False}


def test_up_in_the_foreground_starts_its_supervisor_again_and_stops_all_at_its_end(place: Place) -> None:
    """As a systemd unit runs it."""
    with started(place.settings.var, "up", "--foreground", TAILORBIRD_HOME=str(place.settings.home)) as up:
        try:
            until(lambda: state_file.load(place.settings.var)["supervisor"].alive, 120)
            place.kill("supervisor")
            until(lambda: state_file.load(place.settings.var)["supervisor"].alive, 20)
            until(lambda: all(reachable(place.settings).values()), 60)
        finally:
            up.terminate()
        assert up.wait(60) == 0
    assert not any(service.alive for service in state_file.load(place.settings.var).values())
    assert set(reachable(place.settings).values()) == {False}


def started(var: Path, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TAILORBIRD_", "PREFECT_"))}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = inherited | settings | {"TAILORBIRD_VAR": str(var), "TAILORBIRD_SETTINGS": "none"}
    return subprocess.Popen([sys.executable, "-m", "flows", *arguments], env=environment, **pipes)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[list[Path]]:
    made = [tmp_path / "one", tmp_path / "two"]
    yield made
    for var in made:
        started(var, "down").wait(120)
        EmbeddedPostgres(var).destroy()


@pytest.mark.faults
def test_two_ups_at_once_end_with_two_working_installations(folders: list[Path]) -> None:
    ups = [started(var, "up") for var in folders]
    for up in ups:
        out, err = up.communicate(timeout=600)
        assert up.returncode == 0, f"{out}\n{err}"
    ports = [state_file.load(var)[name].port for var in folders for name in (*WEB, "postgres")]
    assert len(set(ports)) == len(ports)
    for var in folders:
        out, err = started(var, "status", "--json").communicate(timeout=120)
        assert set(json.loads(out)["services"].values()) == {True}, err
        known = state_file.load(var)
        assert all(service.alive for service in known.values())
