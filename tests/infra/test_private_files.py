"""Only the owner can read the files of an installation, from the first file on and after an update."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from infra.configuration.settings import Settings
from infra.lake.delta_lake import Lake
from infra.private_files import error_log, permissions
from infra.private_files.error_log import NAME, record
from infra.private_files.folders import staged
from infra.services import processes, state_file
from infra.services.processes import Command

HOLD = """
import sys, time
from pathlib import Path
from infra.private_files.folders import staged
with staged(Path(sys.argv[1])) as folder:
    (folder / "half").touch()
    print(folder, flush=True)
    time.sleep(60)
"""


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


@pytest.fixture
def var(own_var: Path) -> Path:
    own_var.mkdir()
    return own_var


def failed(message: str = "it broke") -> Exception:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


@pytest.mark.parametrize("open_before", [False, True])
def test_a_traceback_is_kept_where_only_its_owner_can_read_it(var: Path, open_before: bool) -> None:
    if open_before:
        (var / "log").mkdir()
        (var / "log" / NAME).touch(0o644)
    log = record(failed())
    assert log == var / "log" / NAME
    assert log.stat().st_mode & 0o777 == 0o600
    assert open_before or log.parent.stat().st_mode & 0o777 == 0o700
    assert "builtins.ValueError: it broke" in log.read_text()
    assert "raise ValueError(message)" in log.read_text()


@pytest.mark.parametrize(
    "message",
    [
        "no user 'raw-id-7' here",
        "duplicate key\nDETAIL: Key (user)=(raw-id-7) already exists.",
        "Key (user)=(raw-id-7) exists",
        "cannot open postgresql://me:raw-id-7@db/shop",
    ],
)
@pytest.mark.usefixtures("var")
def test_messages_lose_what_may_be_data_or_a_password(message: str) -> None:
    log = record(failed(message))
    assert log is not None
    assert "raw-id-7" not in log.read_text()


@pytest.mark.usefixtures("var")
def test_causes_are_kept_with_their_frames() -> None:
    error = RuntimeError("outer")
    error.__cause__ = failed("inner")
    log = record(error)
    assert log is not None
    assert log.read_text().index("outer") < log.read_text().index("ValueError: inner")


def test_the_log_does_not_grow_without_end(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_log, "_LONGEST_LOG", 5_000)
    for _ in range(100):
        record(failed())
    files = sorted((var / "log").iterdir())
    assert [file.name for file in files] == [NAME, f"{NAME}.1"]
    assert sum(file.stat().st_size for file in files) < 12_000


@pytest.mark.parametrize("kind", ["missing", "a file", "a link"])
def test_without_a_folder_of_the_installation_the_traceback_goes_to_a_temporary_file(
    own_var: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    if kind == "a file":
        own_var.touch()
    elif kind == "a link":
        (own_var / "log").mkdir(parents=True)
        elsewhere.touch()
        (own_var / "log" / NAME).symlink_to(elsewhere)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    log = record(failed())
    assert log is not None
    assert log.parent == tmp_path
    assert log.stat().st_mode & 0o777 == 0o600
    assert "it broke" in log.read_text()
    assert own_var.exists() != (kind == "missing")
    assert kind != "a link" or not elsewhere.read_text()


@pytest.mark.usefixtures("own_var")
def test_a_log_that_cannot_be_written_anywhere_keeps_nobody_from_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert record(failed()) is None
    assert not list(tmp_path.iterdir())


@pytest.fixture
def other(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that puts files together."""
    return subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)


def test_a_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with staged(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_moved_into_place_stays(tmp_path: Path) -> None:
    with staged(tmp_path) as folder:
        (folder / "file").touch()
        folder.replace(tmp_path / "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_only_folders_of_killed_processes_are_removed(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    assert other.stdout is not None
    theirs = Path(other.stdout.readline().strip())
    with staged(tmp_path) as own_folder:
        assert {own_folder, theirs} == set(tmp_path.iterdir())
    other.kill()
    other.communicate()
    assert (theirs / "half").exists()
    with staged(tmp_path) as own_folder:
        assert [own_folder] == list(tmp_path.iterdir())
