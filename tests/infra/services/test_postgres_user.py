"""PostgreSQL's data move out of a private folder when its user cannot enter it, and come back from a backup."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from infra.services import postgres_user
from infra.services.embedded_postgres import EmbeddedPostgres
from infra.services.postgres_user import SHELTER, PostgresFailedError
from tests.infra.services.test_embedded_postgres import query

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run the server as another user")


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
def server(var: Path) -> EmbeddedPostgres:
    """An installation with its data in `var`, which was closed to others since."""
    server = EmbeddedPostgres(var)
    server.start()
    query(server.url(), "CREATE TABLE kept AS SELECT 7 AS seven")
    assert not (var / "postgres").is_symlink()
    var.chmod(0o700)
    return server


def seven(server: EmbeddedPostgres) -> list[tuple[int]]:
    return query(server.url(), "SELECT seven FROM kept")


def test_a_running_server_moves_with_its_data_and_restarts_there(server: EmbeddedPostgres) -> None:
    before, place = server.running(), server.folder / "postgres"
    running = server.start()
    assert running != before
    assert seven(server) == [(7,)]
    assert psutil.Process(running.pid).username() == "nobody"
    assert place.resolve().parent == SHELTER
    assert (place.resolve() / "data").owner() == "nobody"
    assert stat.S_IMODE((place.resolve() / "data").stat().st_mode) == 0o700
    assert server.start().pid == running.pid
    server.stop()
    server.start()
    assert seven(server) == [(7,)]
    assert [path.name for path in server.folder.iterdir() if "postgres" in path.name] == ["postgres"]


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


@pytest.mark.parametrize("keeps_owner", [True, False])
def test_a_backup_of_data_in_var_is_restored(server: EmbeddedPostgres, keeps_owner: bool) -> None:
    server.stop()
    restored = EmbeddedPostgres(server.folder.with_name("restored"))
    shutil.copytree(server.folder, restored.folder, symlinks=True)
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


def test_a_link_to_data_that_are_not_there_is_no_empty_database(tmp_path: Path) -> None:
    place = tmp_path / "postgres"
    place.symlink_to(SHELTER / "data-of-another-machine")
    with pytest.raises(PostgresFailedError, match=r"leads to .*Restore that folder from a backup, or delete the link"):
        EmbeddedPostgres(tmp_path).start()
    assert place.is_symlink()
