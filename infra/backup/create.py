"""Creates a backup of a running installation: database, lake, bundles, artifacts, and encrypted secrets."""

import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import text

from infra import locks
from infra.backup.backup_key import BackupKey
from infra.backup.database_copy import POSTGRES, DatabaseCopy, copy_database
from infra.backup.repository import Backup, BackupRefusedError, Repository
from infra.configuration.settings import Settings
from infra.configuration.version import git_commit, package_version
from infra.installation import Installation
from infra.keys.credentials import FOLDER, INSTALLATION_ID
from infra.services.embedded_postgres import EmbeddedPostgres

VAR, LAKE, BUNDLES, SETTINGS = "var", "lake", "bundles", "settings"
"""The first folder of a path in a backup."""
SECRETS: Final = "secrets.tar"
_NAME: Final = text("""SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24-MI-SS"Z"')""")
RESTORED_SETTINGS: Final = "restored-settings"
"""The folder in `var` with the settings file of a restored backup, and the files that it names."""
_MESSAGES: Final = "spool"
"""The folder in `var` of messages that wait for the database."""
_NOT_COPIED: Final = frozenset(
    {FOLDER, _MESSAGES, RESTORED_SETTINGS, POSTGRES, "log", "services.json", "services.lock", "backtests"}
    | {"spill", "fetched"}
)
"""Entries of `var` that are copied otherwise, or that only running processes need."""


def create_backup(here: Installation, place: str, keep: int | None, advance: Callable[..., None]) -> Backup:
    """Store a backup, then delete all but the newest `keep`; return the new one.

    `advance` counts three steps. Ingests wait meanwhile, and erasures and rotations of keys are refused. The database
    comes before the files, which are written before the rows that name them, and after waiting messages, which move
    from files to rows. Raises BackupRefusedError at a place with backups of another installation.
    """
    repository, settings = Repository(place), here.settings
    key = BackupKey.of(settings)
    with (
        locks.locked(here.engine, "backup", purpose="backup"),
        locks.locked(here.engine, "the lake's events", wait=True, purpose="backup") as confirm,
    ):
        installation = (settings.var / INSTALLATION_ID).read_text().strip()
        if repository.names() and repository.read().installation != installation:
            raise BackupRefusedError(f"{place} has backups of another installation. Choose another folder or prefix.")
        waiting = [repository.put(io.BytesIO(content), path) for path, content in _waiting_messages(settings)]
        own = settings.database_url is None
        copied = copy_database(EmbeddedPostgres(settings.var), repository, advance) if own else DatabaseCopy()
        advance(note="files")
        copied.files += waiting
        for path, file in _files(settings, place):
            with suppress(FileNotFoundError), file.open("rb") as content:  # its work has just ended
                copied.files.append(repository.put(content, path))
                advance(0, note=path)
        advance(note="secrets")
        confirm()
        with here.engine.connect() as connection:
            name = connection.execute(_NAME).scalar_one()
        backup = Backup(
            name=name,
            installation=installation,
            version=f"{package_version()} {git_commit()}",
            key=key.fingerprint,
            postgres=copied.postgres,
            lsn=copied.lsn,
            files=copied.files,
            folders=copied.folders,
            secrets=repository.put(io.BytesIO(key.encrypt(_secrets(settings))), SECRETS),
            left_out=list(_left_out(settings)),
        )
        repository.publish(backup.model_copy(update={"seal": backup.seal_of(key.value)}))
        if keep is not None:
            repository.prune(keep)
        advance()
    return backup


def roots(settings: Settings) -> dict[str, Path]:
    """Return the folders of this machine by the first folder of their paths in a backup."""
    places = {LAKE: settings.lake, BUNDLES: settings.bundles}
    return {VAR: settings.var} | {name: Path(place) for name, place in places.items() if "://" not in place}


def _left_out(settings: Settings) -> Iterator[str]:
    if settings.database_url is not None:
        yield "the databases, which an external server holds"
    for name, place in ((LAKE, settings.lake), (BUNDLES, settings.bundles)):
        if "://" in place:
            yield f"the {name} at {place}"


def _waiting_messages(settings: Settings) -> Iterator[tuple[str, bytes]]:
    for file in sorted((settings.var / _MESSAGES).rglob("*")):
        with suppress(FileNotFoundError, IsADirectoryError):
            yield f"{VAR}/{file.relative_to(settings.var)}", file.read_bytes()


def _files(settings: Settings, place: str) -> Iterator[tuple[str, Path]]:
    """Yield the path in the backup and the file, for all files outside of PostgreSQL, messages and secrets."""
    folders = roots(settings)
    for name, root in folders.items():
        others = {folder for folder in (*folders.values(), Path(place).absolute()) if root in folder.parents}
        # The log of a table comes first: the files that it names exist by then.
        for file in dict.fromkeys([*root.rglob("_delta_log/*"), *root.rglob("*")]):
            below = file.relative_to(root)
            apart = name == VAR and (below.parts[0] in _NOT_COPIED or below.parts[0].startswith("."))
            if not (apart or others & {*file.parents}) and file.is_file() and not file.is_symlink():
                yield f"{name}/{below}", file


def _secrets(settings: Settings) -> bytes:
    """Return an archive of the secrets, and of the files that the settings are in or name."""
    content = io.BytesIO()
    named = (settings.settings_file, settings.placements, settings.experiments, settings.collect_mapping)
    with tarfile.open(fileobj=content, mode="w") as archive:
        for file in sorted((settings.var / FOLDER).iterdir()):
            if file.is_file() and not file.name.startswith("."):
                archive.add(file, f"{FOLDER}/{file.name}")
        for path in [Path(path) for path in named if path]:
            if path.is_file():
                archive.add(path, f"{SETTINGS}/{path.name}")
    return content.getvalue()
