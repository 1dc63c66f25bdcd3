"""Only the owner can read the files of an installation, from the first file on and after an update."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from infra.configuration.settings import Settings
from infra.lake.delta_lake import Lake
from infra.private_files import permissions
from infra.services import processes, state_file
from infra.services.processes import Command


@pytest.fixture(autouse=True)
def careless_shell() -> Iterator[None]:
    """Files of this process are readable by everybody, unless something sees to it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_entries(folder: Path) -> list[str]:
    """Return the paths that other users may read, write or enter."""
    entries = [folder, *folder.rglob("*")]
    return [str(path) for path in entries if not path.is_symlink() and path.stat().st_mode & 0o077]


def old_installation(folder: Path) -> Settings:
    """One whose files were left open to everybody, with a lake and bundles in a folder that holds other things too."""
    settings = Settings(var=folder / "var", lake=str(folder / "data"), bundles=str(folder / "data"))
    for path in ("var/log/worker.log", "var/mlflow/artifacts/1/report.html", "var/postgres/data/PG_VERSION"):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text("18")
    Lake(settings.lake).append_events(pa.table({"event_id": ["1"], "month": ["2026-01"]}), "b", 0)
    (folder / "data" / ("ab" * 32)).mkdir()
    (folder / "data" / ("ab" * 32) / "manifest.json").write_text("{}")
    (folder / "data" / "reports").mkdir()
    (folder / "data" / "reports" / "shared.csv").write_text("everybody reads this")
    return settings


def test_an_old_installation_is_closed_and_what_is_not_ours_stays_as_it_is(tmp_path: Path) -> None:
    settings = old_installation(tmp_path)
    (tmp_path / "elsewhere.txt").write_text("shared")
    (settings.var / "link").symlink_to(tmp_path / "elsewhere.txt")
    permissions.repair(settings)
    postgres = settings.var / "postgres"
    assert open_entries(settings.var) == [str(postgres / "data"), str(postgres / "data" / "PG_VERSION")]
    data = Path(settings.lake)
    for folder in (data / "events", data / ("ab" * 32)):
        assert open_entries(folder) == []
    for shared in (data, data / "reports", data / "reports" / "shared.csv", tmp_path / "elsewhere.txt"):
        assert shared.stat().st_mode & 0o044
    assert Lake(settings.lake).event_files()


def test_a_lake_that_a_link_in_var_leads_to_is_closed_too(tmp_path: Path) -> None:
    settings = Settings(var=tmp_path / "var")
    settings.var.mkdir()
    (tmp_path / "disk").mkdir()
    Path(settings.lake).symlink_to(tmp_path / "disk")
    Lake(settings.lake).append_events(pa.table({"event_id": ["1"], "month": ["2026-01"]}), "b", 0)
    permissions.repair(settings)
    assert open_entries(tmp_path / "disk" / "events") == []


def test_a_repaired_folder_is_not_looked_at_again_unless_somebody_has_opened_it(tmp_path: Path) -> None:
    settings = old_installation(tmp_path)
    permissions.repair(settings)
    log = settings.var / "log" / "worker.log"
    log.chmod(0o644)
    permissions.repair(settings)
    assert log.stat().st_mode & 0o077
    settings.var.chmod(0o755)
    permissions.repair(settings)
    assert log.stat().st_mode & 0o077 == 0
    part = Path(settings.lake) / "events"
    for path in (part, *part.rglob("*")):
        path.chmod(0o755)
    permissions.repair(settings)
    assert open_entries(part) == []


def test_a_repair_that_was_interrupted_is_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, closed = old_installation(tmp_path), []
    chmod = Path.chmod

    def killed(path: Path, mode: int) -> None:
        closed.append(path)
        if len(closed) == 3:
            raise KeyboardInterrupt
        chmod(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", killed)
        with pytest.raises(KeyboardInterrupt):
            permissions.repair(settings)
    permissions.repair(settings)
    assert [path for path in open_entries(settings.var) if "/postgres/" not in path] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_root_leaves_the_files_of_another_user_to_that_user(tmp_path: Path) -> None:
    settings = old_installation(tmp_path)
    theirs = settings.var / "log" / "theirs.log"
    theirs.touch()
    os.chown(theirs, 65534, 65534)
    permissions.repair(settings)
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o644


def test_files_are_private_from_the_first_one_on(tmp_path: Path) -> None:
    settings = Settings(var=tmp_path / "var")
    with permissions.private_files():
        permissions.repair(settings)
        with state_file.locked(settings.var, print):
            state_file.store(settings.var, {})
    write = "import pathlib, time; pathlib.Path('by-it').mkdir(); pathlib.Path('by-it/one').touch(); print('ready')"
    log = settings.var / "log" / "it.log"
    command = Command(str(tmp_path), [sys.executable, "-c", f"{write}; time.sleep(60)"], log, folder=settings.var)
    running = processes.start(command)
    processes.wait_until((settings.var / "by-it" / "one").exists, running, log, 20)
    processes.stop(running, str(tmp_path))
    assert (settings.var / "by-it" / "one").exists()
    assert open_entries(settings.var) == []
    (tmp_path / "later").touch()
    assert (tmp_path / "later").stat().st_mode & 0o044
