"""Real servers, started once. A test begins with an `up` if the test before left something stopped or changed."""

import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg2
import pytest
from sqlalchemy import create_engine, text

from infra.configuration.settings import Settings
from infra.database.engine import SchemaError
from infra.keys.credentials import FOLDER, KEYS, stored_secret, variable
from infra.overview import settings_shown
from infra.services import state_file
from infra.services.database_access.grants import ROLES
from infra.services.endpoints import Endpoints, ServicesDownError, endpoints, export
from infra.services.http_client import basic_auth, request_json
from infra.supervisor import startup
from infra.supervisor.probes import reachable
from infra.supervisor.running_commands import under_way
from infra.supervisor.startup import DemoRefusedError
from tests.infra.supervisor.started_place import (
    FLOW,
    FLOWS,
    NO_ADDRESSES,
    ROOT,
    Place,
    begin,
    prefect,
    started_place,
    wait_for,
)

COMMAND = """
import sys, time
from infra.supervisor import command_watch
from infra.configuration.settings import Settings

def begin(var):
    command_watch.begin(Settings(var=var), ["postgres"], lambda line: print(line, file=sys.stderr, flush=True))
    time.sleep(60)
"""
DEMO = "/deployments/name/demo/demo"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with started_place(tmp_path_factory.mktemp("home")) as place:
        yield place


@pytest.fixture
def running(place: Place) -> Endpoints:
    return place.running or place.up()


def test_a_first_up_passes_over_ports_of_others_names_them_and_starts_nothing_twice(
    place: Place, running: Endpoints
) -> None:
    output = "\n".join(place.first)
    for port, name in ((4200, "Prefect"), (5000, "MLflow"), (4210, "Data Docs")):
        assert re.search(rf"Port {port} is taken by another program; {name} uses \d+", output)
    assert running.prefect_page.startswith("http://127.0.0.1:")
    assert ":4200" not in running.prefect_page
    assert output.count("Starting MLflow on port") == 2, "it lost its port"
    assert [sum(name in line for line in place.first) for name in ("worker", "reconciler")] == [1, 1]
    assert "other settings" not in output


def test_every_deployment_is_there_with_its_docstring(place: Place, running: Endpoints) -> None:
    results = prefect(running, "POST", "/deployments/filter", {})
    expected = {name: f"Pretends to {name}." for name in FLOWS if name != "demo"}
    assert {d["name"]: d["description"] for d in results} == expected
    assert str(place.settings.home) not in str([(d["pull_steps"], d["path"], d["entrypoint"]) for d in results])


def test_a_second_up_and_a_look_are_quick_and_find_everything_running(place: Place, running: Endpoints) -> None:
    before, began = place.pids(), time.process_time()
    assert place.up() == running
    assert time.process_time() - began < 0.5
    assert place.lines == ["Everything is already running"]
    assert place.pids() == before
    looked = time.monotonic()
    assert reachable(place.settings) == dict.fromkeys(("postgres", "prefect", "mlflow", "docs", "api"), True)
    assert time.monotonic() - looked < 0.4


def test_passwords_are_in_no_command_line_log_or_state_file(place: Place, running: Endpoints) -> None:
    var = place.settings.var
    secrets = [path.read_text().strip() for path in (var / "secrets").iterdir() if path.suffix != ".ini"]
    written = [(var / "services.json").read_text(), repr(running), repr(place.settings)]
    written += [path.read_text(errors="replace") for path in (var / "log").iterdir()]
    written += [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert len(secrets) >= 8
    assert [secret for secret in secrets if any(secret in text for text in written)] == []


def test_pages_and_interfaces_ask_for_a_password(running: Endpoints) -> None:
    closed = [
        f"{running.prefect_api_url}/work_pools/tailorbird",
        f"{running.mlflow_tracking_uri}/",
        f"{running.docs_page}/",
        f"{running.mlflow_tracking_uri}/api/2.0/mlflow/experiments/get?experiment_id=0",
    ]
    for url in closed:
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(url, timeout=5)  # noqa: S310
    assert running.mlflow_login is not None
    opened = request_json("GET", closed[-1], {"Authorization": basic_auth(":".join(running.mlflow_login))})
    assert opened["experiment"]["name"] == "Default"


@pytest.mark.usefixtures("running")
def test_only_loopback_is_listened_on(place: Place) -> None:
    pids = [pid for pid in place.pids().values() if pid is not None]
    families = [psutil.Process(pid) for pid in pids] + [c for pid in pids for c in psutil.Process(pid).children(True)]
    received = set()
    for process in families:
        with suppress(psutil.NoSuchProcess):  # PostgreSQL's come and go
            received |= {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert received == {"127.0.0.1"}


def test_the_database_has_its_schema_and_the_other_two_are_closed_to_its_role(running: Endpoints) -> None:
    plain = running.database_url.replace("+psycopg2", "")
    connection = psycopg2.connect(plain)
    cursor = connection.cursor()
    cursor.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
    assert cursor.fetchone() == (True,)
    connection.close()
    for name in ("prefect", "mlflow"):
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            psycopg2.connect(plain.rpartition("/")[0] + f"/{name}")


def test_the_database_of_an_earlier_version_is_refused_before_anything_starts(place: Place, running: Endpoints) -> None:
    with psycopg2.connect(running.database_url.replace("+psycopg2", "")) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT version_num FROM alembic_version")
        (present,) = cursor.fetchone()
        cursor.execute("UPDATE alembic_version SET version_num = '0032'")
        connection.commit()
        with pytest.raises(SchemaError, match="Start the previous release once"):
            place.up()
        assert place.lines == []
        cursor.execute("UPDATE alembic_version SET version_num = %s", [present])
    connection.close()


@pytest.mark.parametrize("name", ["mlflow", "postgres", "docs", "api"])
def test_after_a_kill_up_restarts_only_that(place: Place, running: Endpoints, name: str) -> None:
    before = place.pids()
    place.kill("supervisor")  # it would be first
    place.kill(name)
    assert place.up() == running
    assert any("is gone (a crash" in line for line in place.lines)
    assert {key for key, pid in place.pids().items() if before[key] != pid} == {name, "supervisor"}
    assert all(reachable(place.settings).values())
    prefect(running, "GET", "/work_pools/tailorbird")


def test_the_worker_runs_flows_and_a_run_that_died_with_it_is_reported_and_does_not_hold_up_the_next(
    place: Place, running: Endpoints
) -> None:
    run = begin(running, "train", seconds=120)
    wait_for(running, run, "RUNNING")
    assert any(" (since 20" in line for line in startup.under_way(place.settings))
    assert [work.flow for work in under_way(place.settings)] == ["train"]
    place.kill("supervisor")
    place.kill("worker")
    place.up()
    assert prefect(running, "GET", f"/flow_runs/{run}")["state"]["type"] == "CRASHED"
    wait_for(running, begin(running, "train"), "COMPLETED")
    log = (place.settings.var / "log" / "worker.log").read_text()
    assert f"ran train in {place.settings.home} for {place.settings.var}" in log


def test_the_logs_lead_to_pages_that_ask_for_the_password(place: Place, running: Endpoints) -> None:
    logs = {name: (place.settings.var / "log" / f"{name}.log").read_text() for name in ("deploy", "worker")}
    assert f"{running.prefect_page}/v2/deployments/deployment/" in logs["deploy"]
    for content in logs.values():  # the older pages ask nobody for the password
        assert not re.search(rf"{re.escape(running.prefect_page)}/(deployments|runs)/", content)


@pytest.mark.usefixtures("running")
def test_a_taken_port_that_was_asked_for_is_refused_and_what_runs_goes_on(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServicesDownError, match=f"Port {port} for Prefect .*TAILORBIRD_PREFECT_PORT"):
            place.up(prefect_port=port)
    assert all(reachable(place.settings).values())


@pytest.mark.usefixtures("running")
def test_a_second_up_at_the_same_time_reports_the_first_and_waits(place: Place) -> None:
    with state_file.locked(place.settings.var, print):
        other = threading.Thread(target=place.up)
        other.start()
        time.sleep(0.3)
        assert len(place.lines) == 1
        assert "at work here; waiting" in place.lines[0]
    other.join(timeout=20)
    assert place.lines[-1] == "Everything is already running"


def test_after_export_the_own_addresses_are_not_taken_for_foreign_ones(
    place: Place, running: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_HOME", str(place.settings.home))  # with the same flows, nothing is restarted
    for name in running.environment:
        monkeypatch.setenv(name, "")  # so that all of it is taken back afterwards
    export(running)
    assert endpoints(Settings()) == running
    assert startup.start(Settings(), place.lines.append) == running


def test_data_docs_are_served_to_who_has_the_login_by_a_small_process(place: Place, running: Endpoints) -> None:
    headers = {"Authorization": basic_auth(str(running.docs_login))}
    request = urllib.request.Request(f"{running.docs_page}/", headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        assert "No batch was judged yet" in answer.read().decode()
    pid = place.pids()["docs"]
    assert pid is not None
    assert psutil.Process(pid).memory_info().rss < 80e6
    assert psutil.Process(place.pids()["mlflow"]).children() == [], "MLflow is one process"


def test_the_api_answers_before_there_is_a_champion_and_asks_for_a_key(running: Endpoints) -> None:
    def status(path: str) -> int:
        try:
            with urllib.request.urlopen(f"{running.api_page}{path}", timeout=5) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            return refusal.code

    assert (status("/livez"), status("/readyz"), status("/v1/popular")) == (200, 503, 401)


@pytest.mark.usefixtures("running")
def test_data_docs_end_when_others_serve_them_and_come_back_where_they_were(place: Place) -> None:
    before = place.pids()
    address = state_file.load(place.settings.var)["docs"].address
    assert place.up(docs_url="https://docs.example/shop/").docs_page == "https://docs.example/shop"
    assert place.lines[0] == "Data Docs are not served any more"
    after = place.pids()
    assert after["docs"] is None
    # Links in alerts and reports lead there, so the clients have to know.
    assert {name for name, pid in after.items() if before[name] != pid} == {
        "docs",
        "worker",
        "reconciler",
        "supervisor",
    }
    off = place.settings.model_copy(update={"docs_port": 0})
    assert endpoints(off).docs_page == ""
    assert "docs" not in reachable(off)
    assert reachable(place.settings)["docs"] is False
    assert place.up().docs_page == address
    assert reachable(place.settings)["docs"] is True


def test_given_services_are_used_and_only_data_docs_and_their_clients_are_started(
    place: Place, running: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = running.database_url.replace("postgresql+psycopg2", "postgres")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", str(running.prefect_login))
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, running.environment[name])
    for name in (*KEYS, *(f"database-{role}" for role in ROLES)):
        monkeypatch.setenv(variable(name), stored_secret(place.settings.var / FOLDER, name))
    guest = Place(
        Settings(
            var=tmp_path / "var",
            home=place.settings.home,
            database_url=given,
            prefect_api_url=running.prefect_api_url,
            mlflow_tracking_uri=running.mlflow_tracking_uri,
        )
    )
    try:
        results = guest.up()
        progress = [line for line in guest.lines if "is taken" not in line and not line.startswith("Waiting")]
        assert [line.rpartition(" on port")[0] or line for line in progress] == [
            "Starting Data Docs",
            "Starting the API",
            "Starting the worker",
            "Starting the reconciler",
            "Starting the supervisor",
        ]
        assert list(guest.pids()) == ["docs", "api", "worker", "reconciler", "supervisor"]
        assert results.database_url == running.database_url
        assert results.prefect_page == running.prefect_page
        assert results.prefect_login is results.mlflow_login is None
        assert set(reachable(guest.settings).values()) == {True}
        guest.up()
        assert guest.lines == ["Everything is already running"]
    finally:
        guest.down()
    assert guest.lines == ["Stopped: The supervisor, The worker, The reconciler, The API, Data Docs"]
    assert all(reachable(place.settings).values())


def test_a_given_service_that_does_not_answer_is_named_without_its_password_before_anything_starts(
    place: Place, running: Endpoints, tmp_path: Path
) -> None:
    lines: list[str] = []
    settings = place.settings.model_copy(
        update={
            "var": tmp_path / "var",
            "lake": str(tmp_path / "lake"),
            "database_url": None,
            "prefect_api_url": "http://me:hidden@127.0.0.1:1/api",
            "mlflow_tracking_uri": running.mlflow_tracking_uri,
        }
    )
    with pytest.raises(ServicesDownError, match=r"PREFECT_API_URL is set, but .* does not answer") as refusal:
        startup.start(settings, lines.append)
    assert "hidden" not in str(refusal.value)
    startup.stop(settings, lines.append)
    assert lines == ["Nothing was running"]


def test_down_stops_everything_and_up_brings_it_back_under_the_same_addresses(place: Place, running: Endpoints) -> None:
    processes = [psutil.Process(pid) for pid in place.pids().values() if pid is not None]
    processes += [child for process in processes for child in process.children(recursive=True)]
    program = f"{COMMAND}\nbegin({str(place.settings.var)!r})"
    command = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    while not startup.under_way(place.settings):
        time.sleep(0.05)
    place.down()
    assert "so this command ends. Nothing is lost: run `tailorbird up`" in command.communicate()[1]
    order = "The supervisor, The worker, The reconciler, The API, Prefect, MLflow, Data Docs, PostgreSQL"
    assert place.lines == [f"Stopped: {order}"]
    assert [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert set(reachable(place.settings).values()) == {False}
    with pytest.raises(ServicesDownError, match="tailorbird up"):
        endpoints(place.settings)
    place.down()
    assert place.lines == ["Nothing was running"]
    assert place.up() == running
    assert not any("is gone" in line or "Registering the flows" in line for line in place.lines)


def test_a_changed_flow_and_the_flow_of_a_demo_are_registered_and_nothing_else_happens(
    place: Place, running: Endpoints
) -> None:
    before = place.pids()
    assert prefect(running, "GET", DEMO) is None
    (place.settings.home / "flows" / "score.py").write_text(FLOW.format(name="score").replace("Pretends", "Claims"))
    place.up(demo=True)
    assert place.lines == [
        "Registering the flows of prefect.yaml with Prefect",
        "Registering schedules, automations and alerts with Prefect",
    ]
    assert prefect(running, "GET", "/deployments/name/score/score")["description"] == "Claims to score."
    assert prefect(running, "GET", DEMO)["description"] == "Pretends to demo."
    assert place.pids() == before
    place.up()
    assert place.lines == ["Everything is already running"]


def test_a_run_of_the_worker_reads_the_settings_file_as_it_is_then_and_not_the_shell(
    place: Place, running: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nightly() -> str:
        [row] = prefect(running, "GET", "/deployments/name/score/score")["schedules"]
        return str(row["schedule"]["cron"])

    for name in ("placements.toml", "others.toml"):
        shutil.copy(ROOT / "infra" / "configuration" / "placements.toml", tmp_path / name)
    path = tmp_path / "tailorbird.toml"
    path.write_text('placements = "placements.toml"\nschedules.score-nightly = "0 2 * * *"\n')
    monkeypatch.setenv("TAILORBIRD_SETTINGS", str(path))
    (place.settings.var / "demo-installation").unlink(missing_ok=True)
    own = Place(Settings(var=place.settings.var, home=place.settings.home, **NO_ADDRESSES))
    own.up()
    change = f"Setting placements changes from (not set) to {tmp_path / 'placements.toml'} (tailorbird.toml:1)"
    assert change in own.lines
    assert nightly() == "0 2 * * *"
    assert prefect(running, "GET", DEMO) is None

    path.write_text('placements = "others.toml"\n')
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", "/of/this/shell.toml")
    wait_for(running, begin(running, "score"), "COMPLETED")
    lines = (place.settings.var / "log" / "worker.log").read_text().splitlines()
    assert str(tmp_path / "others.toml") in [line for line in lines if "used the placements in" in line][-1]
    monkeypatch.delenv("TAILORBIRD_PLACEMENTS")
    before = own.pids()
    own = Place(Settings(var=place.settings.var, home=place.settings.home, **NO_ADDRESSES))
    assert {row.key: row.running for row in settings_shown.rows(own.settings) if row.running} == {
        "placements": dict.fromkeys(("reconciler", "api"), str(tmp_path / "placements.toml")),
        "schedules.score-nightly": {"reconciler": "0 2 * * * UTC"},
    }
    own.up()
    assert {name for name, pid in own.pids().items() if before[name] != pid} == {"reconciler", "api", "supervisor"}
    assert [row for row in settings_shown.rows(own.settings) if row.running] == []
    assert nightly() == "30 4 * * *"

    monkeypatch.delenv("TAILORBIRD_SETTINGS")
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("TAILORBIRD_VAR", str(place.settings.var))
    assert Settings(**NO_ADDRESSES).settings_file == path


def ingested(database: str, source: str) -> None:
    with create_engine(database).begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ingest_batches (batch_id, dataset, source, location, status, consent) "
                "VALUES (:s, 'events', :s, 'x', 'committed', 'given')"
            ),
            {"s": source},
        )


def test_an_empty_installation_and_one_of_the_demo_become_a_demo_installation(database: str, tmp_path: Path) -> None:
    assert not startup.is_demo(tmp_path)
    ingested(database, "complete_journey")
    startup.mark_demo(create_engine(database), tmp_path)
    assert startup.is_demo(tmp_path)
    ingested(database, "more")
    startup.mark_demo(create_engine(database), tmp_path)


def test_an_installation_with_a_shops_own_data_refuses_the_demo_and_stays_as_it_is(
    database: str, tmp_path: Path
) -> None:
    ingested(database, "my_shop")
    with pytest.raises(DemoRefusedError, match=r"holds data of my_shop, .* TAILORBIRD_VAR=./var-demo tailorbird demo"):
        startup.mark_demo(create_engine(database), tmp_path)
    assert not startup.is_demo(tmp_path)
