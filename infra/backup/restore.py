"""Restores a backup into an empty folder: completely, or nothing of it."""

import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from infra.backup.backup_key import NAME, BackupKey
from infra.backup.create import RESTORED_SETTINGS, SETTINGS, VAR, roots
from infra.backup.database_copy import POSTGRES
from infra.backup.repository import Backup, BackupRefusedError, Repository
from infra.configuration.settings import Settings
from infra.keys.credentials import ERASED_USERS, FOLDER, INSTALLATION_ID, create_once
from infra.private_files.folders import staged
from infra.services import postgres_user, state_file

_LAST: Final = (POSTGRES, FOLDER, INSTALLATION_ID)
"""The entries of `var` without which nothing starts."""


def sealed_backup(repository: Repository, key: BackupKey, name: str | None) -> Backup:
    """Return a backup, by default the newest. Raises BackupRefusedError for one of another key, or an altered one."""
    backup = repository.read(name)
    if backup.key != key.fingerprint:
        raise BackupRefusedError(
            f"The backup {backup.name} has another key, with the fingerprint {backup.key}. Put that one in place."
        )
    if backup.seal != backup.seal_of(key.value):
        raise BackupRefusedError(f"The list of files of the backup {backup.name} was changed. Choose another backup.")
    return backup


def restore_backup(
    settings: Settings, repository: Repository, key: BackupKey, backup: Backup, advance: Callable[..., None]
) -> None:
    """Write all files of a backup; `advance` counts them.

    The list of erased users comes from the newest backup: see `tasks.privacy.erase_users.erase_restored`. Raises
    BackupRefusedError before the first change when a folder is not empty, or when a file is missing or changed.
    """
    newest, folders = sealed_backup(repository, key, None), roots(settings)
    _check_server(backup)
    if missing := {file.path.partition("/")[0] for file in backup.files} - {*folders, POSTGRES}:
        raise BackupRefusedError(
            f"The settings put {' and '.join(sorted(missing))} into an object store, and the backup holds files of it. "
            "Name a folder in the settings."
        )
    with state_file.locked(settings.var, lambda line: advance(0, note=line)), ExitStack() as stack:
        for folder in folders.values():
            _refuse_content(folder, settings.var)
        drafts = {}
        for root, folder in folders.items():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            drafts[root] = stack.enter_context(staged(folder))
        drafts[POSTGRES] = drafts[VAR] / POSTGRES
        for path in backup.folders:
            _target(path, drafts).mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in backup.files:
            target = _target(file.path, drafts)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with target.open("xb") as content:
                for block in repository.blocks(file):
                    content.write(block)
            advance(note=file.path)
        _unpack(key.decrypt(b"".join(repository.blocks(backup.secrets))), drafts[VAR])
        _unpack(key.decrypt(b"".join(repository.blocks(newest.secrets))), drafts[VAR], only=f"{FOLDER}/{ERASED_USERS}")
        if not (drafts[VAR] / FOLDER / NAME).exists():  # a variable held it
            create_once(drafts[VAR] / FOLDER / NAME, key.value.hex())
        os.sync()
        shutil.rmtree(settings.var / FOLDER, ignore_errors=True)  # it held the backup key alone
        for root in sorted(folders, key=VAR.__eq__):
            for entry in sorted(drafts[root].iterdir(), key=lambda path: (path.name in _LAST, path.name != _LAST[0])):
                entry.rename(folders[root] / entry.name)
        os.sync()


def _check_server(backup: Backup) -> None:
    """Refuse data of another major version of PostgreSQL than that of the program here."""
    if not backup.postgres:
        return
    program = postgres_user.binaries() / "postgres"
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    here = int(re.sub(r"\D.*", "", answer.split()[-1]))
    if here != backup.postgres:
        raise BackupRefusedError(
            f"The backup {backup.name} needs PostgreSQL {backup.postgres}, and {here} is installed. Install "
            f"Tailorbird {backup.version}, which made it, restore there, and upgrade then."
        )


def _refuse_content(folder: Path, var: Path) -> None:
    """Refuse a folder that holds more than a log, the key of the backup, and drafts of restores that were killed."""
    allowed = {var / FOLDER / NAME, var / "services.lock"}
    entries = [path for path in folder.glob("*") if not path.name.startswith(".") and path != var / "log"]
    found = [path for entry in entries for path in (entry, *entry.rglob("*")) if path.is_file() or path.is_symlink()]
    if kept := [path for path in found if path not in allowed]:
        raise BackupRefusedError(
            f"{folder} holds an installation, or a restore that was stopped: {kept[0]}. A restore needs an empty "
            "folder: move that one away, or name another with TAILORBIRD_VAR."
        )


def _target(path: str, drafts: Mapping[str, Path]) -> Path:
    """Return the place of a file in the drafts. The seal vouches for the path, and this for the folder."""
    root, _, below = path.partition("/")
    target = drafts[root] / below
    if ".." in Path(below).parts or Path(below).is_absolute():
        raise BackupRefusedError(f"The backup names a file outside of its folder: {path}.")
    return target


def _unpack(archive: bytes, var: Path, only: str | None = None) -> None:
    """Write the secrets, or `only` one, and the settings of an archive into `var`."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member in members:
            content = members.extractfile(member) if member.isfile() else None
            if content is None or (only and member.name != only):
                continue
            folder, _, name = member.name.partition("/")
            target = _target(f"{VAR}/{RESTORED_SETTINGS if folder == SETTINGS else FOLDER}/{name}", {VAR: var})
            target.parent.mkdir(mode=0o700, exist_ok=True)
            target.unlink(missing_ok=True)
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content.read())
