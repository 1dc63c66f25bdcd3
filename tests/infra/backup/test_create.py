from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from infra import locks
from infra.backup.backup_key import BackupKey
from infra.backup.create import create_backup
from infra.backup.database_copy import copy_database
from infra.backup.repository import Backup, BackupRefusedError, Repository
from infra.backup.restore import restore_backup, sealed_backup
from infra.configuration.settings import Settings
from infra.database.engine import engine
from infra.installation import Installation
from infra.keys.credentials import FOLDER
from infra.lake.delta_lake import Lake
from infra.services.embedded_postgres import EmbeddedPostgres
from models.errors import TailorbirdError
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items
from tests.conftest import Shop


def test_a_restored_lake_has_the_same_events_and_the_other_files_are_the_same(
    filled: Installation, tmp_path: Path
) -> None:
    var = filled.settings.var
    for name in ("mlflow/artifacts/model", "spool/segment-1.jsonl", "log/api.log", "backups/mine", ".draft", "spill/x"):
        (var / name).parent.mkdir(parents=True, exist_ok=True)
        (var / name).write_text(name)
    (var / "mlflow" / "link").symlink_to("/etc/passwd")
    backup, restored = backed_up(filled, str(var / "backups")), Settings(var=tmp_path / "restored")
    key = BackupKey.of(filled.settings)
    restore_backup(restored, Repository(str(var / "backups")), key, backup, ignore)
    assert files(restored.var) == {
        name for name in files(var) if not name.startswith(("log/", "backups/", ".draft", "spill/"))
    } | {"services.lock"}
    assert sorted_events(restored) == sorted_events(filled.settings)
    assert (restored.var / FOLDER / "backup-key").read_text() == (var / FOLDER / "backup-key").read_text()


def test_data_of_other_servers_are_named_as_left_out(filled: Installation, tmp_path: Path) -> None:
    assert backed_up(filled, str(tmp_path / "backups")).left_out == ["the databases, which an external server holds"]


def test_a_second_backup_stores_only_changed_files_and_old_ones_are_deleted(
    filled: Installation, tmp_path: Path
) -> None:
    first, repository = backed_up(filled, str(tmp_path / "backups")), Repository(str(tmp_path / "backups"))
    repository.publish(first.model_copy(update={"name": "2000"}))
    before = files(tmp_path / "backups" / "objects")
    (filled.settings.var / "new").write_text("a new file")
    second = backed_up(filled, str(tmp_path / "backups"))
    assert len(files(tmp_path / "backups" / "objects") - before) == 2  # the new file, and the secrets
    assert {file.path for file in second.files} - {file.path for file in first.files} == {"var/new"}
    third = backed_up(filled, str(tmp_path / "backups"), keep=1)
    assert (repository.names(), repository.verify(third, ignore)) == ([third.name], [])


def test_a_place_with_backups_of_another_installation_is_refused(filled: Installation, tmp_path: Path) -> None:
    backup, repository = backed_up(filled, str(tmp_path / "backups")), Repository(str(tmp_path / "backups"))
    repository.publish(backup.model_copy(update={"installation": "another", "name": "9999"}))
    with pytest.raises(BackupRefusedError, match="has backups of another installation"):
        backed_up(filled, str(tmp_path / "backups"))


def test_two_backups_do_not_run_at_once(filled: Installation, tmp_path: Path) -> None:
    with locks.locked(filled.engine, "backup"), pytest.raises(locks.LockHeldError, match="Another run works on backup"):
        backed_up(filled, str(tmp_path / "backups"))


def test_a_copied_server_starts_with_all_its_databases(
    postgres: EmbeddedPostgres, database: str, tmp_path: Path
) -> None:
    with engine(database).begin() as connection:
        connection.execute(text("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number"))
    repository = Repository(str(tmp_path / "backups"))
    copied = copy_database(postgres, repository, ignore)
    for folder in copied.folders:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for file in copied.files:
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).write_bytes(b"".join(repository.blocks(file)))
    (tmp_path / FOLDER).mkdir(mode=0o700)
    (tmp_path / FOLDER / "postgres").write_text(postgres.password)
    restored = EmbeddedPostgres(tmp_path)
    try:
        restored.start()
        with engine(restored.url(database.rpartition("/")[2])).connect() as connection:
            assert connection.execute(text("SELECT sum(number) FROM kept")).scalar() == 500_500
            assert connection.execute(text("SELECT count(*) FROM pg_replication_slots")).scalar() == 0
    finally:
        restored.destroy()


def test_a_copy_whose_connection_is_lost_fails_with_advice_and_leaves_no_slot(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    def cut(*_: Any, **__: Any) -> None:
        with engine(postgres.url()).begin() as connection:
            connection.execute(text("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_replication"))

    with pytest.raises(TailorbirdError, match="could not be copied; run the command again"):
        copy_database(postgres, Repository(str(tmp_path)), cut)
    with engine(postgres.url()).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pg_replication_slots")).scalar() == 0


@pytest.fixture
def filled(installation: Installation, shop: Shop) -> Installation:
    """Return an installation with events."""
    ingest_items.fn("complete_journey", shop.items_file)
    ingest_events.fn("complete_journey", shop.events_file)
    return installation


def backed_up(here: Installation, place: str, keep: int | None = None) -> Backup:
    """Store a backup and return it as it is read back."""
    name = create_backup(here, place, keep, ignore).name
    return sealed_backup(Repository(place), BackupKey.of(here.settings), name)


def files(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)) for path in found}


def sorted_events(settings: Settings) -> list[dict[str, Any]]:
    table = Lake(settings.lake).events()
    assert table is not None
    return sorted(table.to_pyarrow_table().to_pylist(), key=lambda event: str(event["event_id"]))


def ignore(*_: Any, **__: Any) -> None:
    """Show no progress."""
