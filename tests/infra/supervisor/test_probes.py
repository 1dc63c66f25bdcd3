"""A server counts as ours only when one of our own processes listens, and a busy one is asked more than once."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from infra.configuration.settings import Settings
from infra.services import processes, state_file
from infra.services.endpoints import ServicesDownError
from infra.services.processes import Command, Running
from infra.services.state_file import Service
from infra.supervisor import probes
from tests.recording_server import LoopbackServer

NEEDED = ("prefect", "mlflow")
LISTEN = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
time.sleep(float(sys.argv[2]))
HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""

Serve = Callable[..., Service]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return Settings(var=tmp_path, database_url=None, prefect_api_url=None, mlflow_tracking_uri=None)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a process of ours that listens after a while."""

    def start(port: int | None = None, after: float = 0) -> Service:
        with socket.create_server(("127.0.0.1", 0)) as free:
            chosen = port or free.getsockname()[1]
        arguments = [sys.executable, "-c", LISTEN, str(chosen), str(after)]
        running = processes.start(Command(str(tmp_path), arguments, tmp_path / "log" / "it.log"))
        return Service(f"http://127.0.0.1:{chosen}", chosen, running)

    yield start
    processes.end_strays(str(tmp_path))


@pytest.fixture
def stranger() -> Iterator[int]:
    """The port of a server that asks everybody for a login that nobody has."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path.endswith("/health") else 401)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with LoopbackServer(Refusing) as server:
        yield server.server_port


def gone(port: int) -> Service:
    """A service of ours as it is remembered after the machine was restarted."""
    return Service(f"http://127.0.0.1:{port}", port, Running(2**22 - 1, 1.0))


def test_a_server_of_others_on_a_remembered_port_is_not_ours(
    settings: Settings, serve: Serve, stranger: int, tmp_path: Path
) -> None:
    state_file.store(tmp_path, {"prefect": gone(stranger), "mlflow": serve()})
    deadline = time.monotonic() + 20
    while not probes.reachable(settings)["mlflow"]:
        assert time.monotonic() < deadline
    others = dict.fromkeys(("postgres", "prefect", "docs", "api"), False)
    assert probes.reachable(settings) == others | {"mlflow": True}
    began = time.monotonic()
    with pytest.raises(ServicesDownError) as refusal:
        probes.ensure(settings, NEEDED)
    assert time.monotonic() - began < 3, "waiting does not help"
    assert str(refusal.value) == (
        "Not reachable: prefect. Start the services with: tailorbird up "
        f"(Prefect does not run, and another program uses its port {stranger}; logs are in {tmp_path / 'log'})"
    )


def test_a_process_of_ours_does_not_make_the_server_of_others_ours(
    settings: Settings, serve: Serve, stranger: int, tmp_path: Path
) -> None:
    state_file.store(tmp_path, {"prefect": serve(stranger, after=60)})
    with pytest.raises(ServicesDownError, match=f"Prefect does not listen on port {stranger} yet"):
        probes.ensure(settings, ["prefect"], patience=0.3)


def test_a_service_that_misses_the_first_probe_is_asked_again(settings: Settings, serve: Serve, tmp_path: Path) -> None:
    state_file.store(tmp_path, {"mlflow": serve(after=1)})
    assert not probes.reachable(settings)["mlflow"]
    probes.ensure(settings, ["mlflow"], patience=30)


def test_a_server_of_ours_that_listens_and_stays_silent_is_named(
    settings: Settings, serve: Serve, tmp_path: Path
) -> None:
    service = serve()
    state_file.store(tmp_path, {"mlflow": service})
    probes.ensure(settings, ["mlflow"], patience=30)
    assert service.running
    os.kill(service.running.pid, signal.SIGSTOP)
    assert probes.reachable(settings)["mlflow"]
    with pytest.raises(ServicesDownError, match=r"MLflow runs but has not answered for 1 s\. Run the same"):
        probes.ensure(settings, ["mlflow"], silence=1)
    os.kill(service.running.pid, signal.SIGCONT)
    probes.ensure(settings, ["mlflow"])


def test_a_worker_or_reconciler_that_ended_is_distinguished_from_one_that_runs(
    settings: Settings, serve: Serve, tmp_path: Path
) -> None:
    assert probes.running_clients(settings) == {}, "another host may run them"
    state_file.store(tmp_path, {"worker": gone(0), "reconciler": serve()})
    assert probes.running_clients(settings) == {"worker": False, "reconciler": True}


def test_services_that_were_never_started_are_named_at_once(settings: Settings) -> None:
    with pytest.raises(ServicesDownError, match=r"prefect, mlflow\. .*Prefect does not run; MLflow does not"):
        probes.ensure(settings, NEEDED)


@pytest.mark.parametrize("name", NEEDED)
def test_a_given_server_that_refuses_the_login_is_named_with_what_to_set(
    settings: Settings, stranger: int, name: str
) -> None:
    address = f"http://127.0.0.1:{stranger}"
    given = settings.model_copy(update={"prefect_api_url": f"{address}/api", "mlflow_tracking_uri": address})
    with pytest.raises(ServicesDownError, match=r"is set, but that server refuses our login \(401\)\. Set "):
        probes.check_given(given, name)


def test_another_kind_of_server_at_a_given_address_does_not_count(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet() -> None:
            while True:
                try:
                    line, _ = other.accept()
                except OSError:
                    return
                line.sendall(b"220 mail.example ESMTP\r\n")
                line.close()

        threading.Thread(target=greet, daemon=True).start()
        port = other.getsockname()[1]
        given = settings.model_copy(
            update={"database_url": Settings(database_url=f"postgresql://a@127.0.0.1:{port}/b").database_url}
        )
        given = given.model_copy(update={"prefect_api_url": f"http://127.0.0.1:{port}/api"})
        answering = probes.reachable(given)
        assert (answering["postgres"], answering["prefect"]) == (False, False)
        with pytest.raises(ServicesDownError, match=r"PREFECT_API_URL is set, but .* does not answer"):
            probes.check_given(given, "prefect", patience=0)
