import io
import secrets
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.backup.backup_key import NAME, BackupKey
from infra.backup.repository import Backup, BackupRefusedError, Repository, StoredFile
from infra.backup.restore import restore_backup, sealed_backup
from infra.configuration.settings import Settings
from infra.keys.credentials import ERASED_USERS, FOLDER

FILES = {"var/mlflow/artifacts/x": b"x", "lake/events/part-1": b"rows", "bundles/d/model": b"m", "var/spool/s": b"s"}
KEY = BackupKey(secrets.token_bytes(32))
Make = Callable[..., Backup]


def test_every_file_is_where_the_settings_put_its_part(make: Make, repository: Repository, tmp_path: Path) -> None:
    settings = Settings(var=tmp_path / "var", lake=str(tmp_path / "disk" / "lake"))
    restore_backup(settings, repository, KEY, make(), ignore)
    assert contents(settings.var) == {
        "mlflow/artifacts/x": b"x",
        "bundles/d/model": b"m",
        "spool/s": b"s",
        "secrets/pseudonym-key": b"p",
        "secrets/erased-users.json": b"old",
        "secrets/backup-key": f"{KEY.value.hex()}\n".encode(),
        "restored-settings/tailorbird.toml": b"review = 'auto'",
        "services.lock": b"",
    }
    assert contents(tmp_path / "disk") == {"lake/events/part-1": b"rows"}
    assert not any(path.stat().st_mode & 0o077 for path in (settings.var / FOLDER).iterdir())


def test_the_list_of_erased_users_comes_from_the_newest_backup(
    make: Make, repository: Repository, tmp_path: Path
) -> None:
    make("2026-01-01")
    make("2026-01-02", {"secrets/erased-users.json": b"new", "secrets/pseudonym-key": b"other"})
    settings = Settings(var=tmp_path / "var")
    restore_backup(settings, repository, KEY, repository.read("2026-01-01"), ignore)
    found = contents(settings.var / FOLDER)
    assert (found[ERASED_USERS], found["pseudonym-key"]) == (b"new", b"p")


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_backup_restores_nothing(make: Make, repository: Repository, tmp_path: Path, damage: str) -> None:
    backup = make()
    broken = Path(repository.place, "objects", backup.files[2].sha256[:2], backup.files[2].sha256)
    broken.unlink() if damage == "missing" else broken.write_bytes(
        Path(repository.place, "objects", backup.files[0].sha256[:2], backup.files[0].sha256).read_bytes()
    )
    settings = Settings(var=tmp_path / "var")
    with pytest.raises(BackupRefusedError, match=f"was {damage}|is {damage}"):
        restore_backup(settings, repository, KEY, backup, ignore)
    assert contents(settings.var) == {"services.lock": b""}
    assert not [*tmp_path.rglob(".incoming-*")]


@pytest.mark.parametrize("kept", ["var/installation-id", "lake/events/x", "var/secrets/pseudonym-key"])
def test_a_folder_with_an_installation_is_left_as_it_is(
    make: Make, repository: Repository, tmp_path: Path, kept: str
) -> None:
    settings, backup = Settings(var=tmp_path / "var", lake=str(tmp_path / "lake")), make()
    (tmp_path / kept).parent.mkdir(parents=True)
    (tmp_path / kept).write_bytes(b"mine")
    with pytest.raises(BackupRefusedError, match="A restore needs an empty folder"):
        restore_backup(settings, repository, KEY, backup, ignore)
    left = {name: content for name, content in contents(tmp_path).items() if not name.startswith("backups/")}
    assert left | {"var/services.lock": b""} == {kept: b"mine", "var/services.lock": b""}


def test_a_log_the_key_of_the_backup_and_the_draft_of_a_killed_restore_may_be_there(
    make: Make, repository: Repository, tmp_path: Path
) -> None:
    settings, backup = Settings(var=tmp_path / "var"), make()
    before = {
        f"{FOLDER}/{NAME}": KEY.value.hex(),
        "log/errors.log": "an error",
        ".incoming-dead/mlflow/x": "half a file",
    }
    for name, content in before.items():
        (settings.var / name).parent.mkdir(parents=True, exist_ok=True)
        (settings.var / name).write_text(content)
    key = BackupKey.of(settings, create=False)
    restore_backup(settings, repository, key, sealed_backup(repository, key, None), ignore)
    assert contents(settings.var)["log/errors.log"] == b"an error"
    assert contents(settings.var)["mlflow/artifacts/x"] == FILES[backup.files[0].path]
    assert not (settings.var / ".incoming-dead").exists()


def test_only_the_key_of_a_backup_opens_it_and_an_altered_list_is_refused(make: Make, repository: Repository) -> None:
    backup, other = make(), BackupKey(secrets.token_bytes(32))
    with pytest.raises(BackupRefusedError, match=f"another key, with the fingerprint {KEY.fingerprint}"):
        sealed_backup(repository, other, None)
    with pytest.raises(BackupRefusedError, match="another key encrypted them"):
        other.decrypt(KEY.encrypt(b"secrets"))
    moved = [file.model_copy(update={"path": f"var/../../{file.path}"}) for file in backup.files]
    repository.publish(backup.model_copy(update={"files": moved}))
    with pytest.raises(BackupRefusedError, match=r"was changed\. Choose another backup"):
        sealed_backup(repository, KEY, None)


def test_data_of_another_postgresql_are_refused(make: Make, repository: Repository, tmp_path: Path) -> None:
    make()
    backup = repository.read().model_copy(update={"postgres": 9})
    with pytest.raises(BackupRefusedError, match=r"needs PostgreSQL 9, and \d\d is installed. Install Tailorbird v"):
        restore_backup(Settings(var=tmp_path / "var"), repository, KEY, backup, ignore)


def test_a_part_in_a_folder_does_not_become_one_in_an_object_store(
    make: Make, repository: Repository, tmp_path: Path
) -> None:
    settings, backup = Settings(var=tmp_path / "var", lake="s3://lakes/mine"), make()
    with pytest.raises(BackupRefusedError, match="The settings put lake into an object store"):
        restore_backup(settings, repository, KEY, backup, ignore)


def test_a_key_that_is_missing_or_no_key_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackupRefusedError, match="put its key, which `tailorbird backup key` printed"):
        BackupKey.of(Settings(var=tmp_path), create=False)
    monkeypatch.setenv("TAILORBIRD_SECRET_BACKUP_KEY", "12345")
    with pytest.raises(BackupRefusedError, match="has to be 64 hex digits"):
        BackupKey.of(Settings(var=tmp_path))
    monkeypatch.delenv("TAILORBIRD_SECRET_BACKUP_KEY")
    assert BackupKey.of(Settings(var=tmp_path)) == BackupKey.of(Settings(var=tmp_path), create=False)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(str(tmp_path / "backups"))


@pytest.fixture
def make(repository: Repository) -> Make:
    """Return a function that stores a backup of the files."""

    def make(name: str = "2026-01-01", secret: dict[str, bytes] | None = None) -> Backup:
        kept = {"secrets/pseudonym-key": b"p", "secrets/erased-users.json": b"old"} | (secret or {})
        archive = archived(kept | {"settings/tailorbird.toml": b"review = 'auto'"})
        backup = Backup(
            name=name, installation="i", version="v", key=KEY.fingerprint, postgres=0, lsn="0/0",
            files=[put(repository, path, content) for path, content in FILES.items()], folders=[],
            secrets=put(repository, "secrets.tar", KEY.encrypt(archive)), left_out=[],
        )  # fmt: skip
        repository.publish(backup.model_copy(update={"seal": backup.seal_of(KEY.value)}))
        return repository.read(name)

    return make


def put(repository: Repository, path: str, content: bytes) -> StoredFile:
    return repository.put(io.BytesIO(content), path)


def archived(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as members:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ignore(*_: Any, **__: Any) -> None:
    """Show no progress."""
