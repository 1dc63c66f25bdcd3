"""Copies the running PostgreSQL with all its databases at one moment, by pg_basebackup, without a file of its own."""

import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Final, cast

import psycopg2
from sqlalchemy import make_url

from infra.backup.repository import Repository, StoredFile
from infra.services import environment, postgres_user
from infra.services.embedded_postgres import EmbeddedPostgres
from models.errors import TailorbirdError

POSTGRES: Final = "postgres"
"""The folder in `var` of the data, and the first one of their paths in a backup."""
_MEGABYTES: Final = 1e6
# The slot of a session keeps the log that was written since; it goes with the session.
_SLOT: Final = (
    "SELECT lsn, current_setting('server_version_num')::int / 10000 FROM pg_create_physical_replication_slot("
)
_OPTIONS: Final = ("--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast", "--no-password")


@dataclass
class DatabaseCopy:
    """The files of the server's data folder, and its folders without files."""

    lsn: str = "0/0"
    postgres: int = 0
    files: list[StoredFile] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


def copy_database(server: EmbeddedPostgres, repository: Repository, advance: Callable[..., None]) -> DatabaseCopy:
    """Store every file of the running server. Raises TailorbirdError when pg_basebackup fails."""
    address = make_url(server.url())
    login = {"host": str(address.host), "port": str(address.port), "user": str(address.username)}
    session = psycopg2.connect(**login, password=server.password, dbname="postgres")
    session.autocommit = True
    try:
        with session.cursor() as cursor:
            cursor.execute(f"{_SLOT}%s, true, true)", [f"tailorbird_backup_{session.get_backend_pid()}"])
            lsn, version = cursor.fetchone() or ("0/0", 0)
        copied = DatabaseCopy(lsn, version)
        arguments = [f"--{name.replace('user', 'username')}={value}" for name, value in login.items()]
        command = [str(postgres_user.binaries() / "pg_basebackup"), *_OPTIONS, *arguments]
        variables = environment.of_postgres() | {"PGPASSWORD": server.password}
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=variables) as program,
        ):
            try:
                complete = _store(cast("IO[bytes]", program.stdout), copied, repository, advance)
            except BaseException:
                program.kill()
                raise
            if program.wait() or not complete:
                errors.seek(0)
                reason = errors.read().decode(errors="replace").strip()
                raise TailorbirdError(f"The database could not be copied; run the command again. {reason}")
    finally:
        session.close()
    return copied


def _store(archive: IO[bytes], copied: DatabaseCopy, repository: Repository, advance: Callable[..., None]) -> bool:
    """Store the files of an archive while it arrives; return whether it has an end."""
    size = 0
    try:
        with tarfile.open(fileobj=archive, mode="r|") as members:
            for member in members:
                path = f"{POSTGRES}/data/{member.name.removeprefix('./').rstrip('/')}"
                content = members.extractfile(member) if member.isfile() else None
                if content is not None:
                    copied.files.append(repository.put(content, path))
                    size += member.size
                    advance(0, note=f"{size / _MEGABYTES:,.0f} MB of the database")
                elif member.isdir():
                    copied.folders.append(path)
    except tarfile.TarError:
        return False
    return True
