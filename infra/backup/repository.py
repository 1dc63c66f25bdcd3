"""Stores the files of backups by their content in a folder or an object store: unchanged files are stored once.

A backup is a JSON file, written last, that lists the digest of each file. Files are compressed with Zstandard.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Final, Literal
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, LocalFileSystem
from pydantic import BaseModel, ValidationError

from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject

_BACKUPS: Final = "backups"
_OBJECTS: Final = "objects"
_SUFFIX: Final = ".json"
_CODEC: Final = "zstd"
_BLOCK: Final = 1 << 20
_IN_MEMORY: Final = 64 << 20
"""Bytes of a file that are held in memory while it is stored; larger ones go to TMPDIR."""


class BackupRefusedError(TailorbirdError):
    """A backup that is missing, damaged, altered, or of another installation or key."""


class BackupStoreError(TailorbirdError, ConnectionError):
    """The place of the backups cannot be read or written."""


class StoredFile(BaseModel):
    """A file of a backup: its path there, and the digest and the size in bytes of its content."""

    path: str
    sha256: str
    size: int


class Backup(BaseModel):
    """One complete backup."""

    format: Literal[1] = 1
    name: str
    """Its time in UTC, as 2026-12-04T03-00-00Z."""
    installation: str
    version: str
    """The package and its commit."""
    key: str
    """The fingerprint of the backup key, which opens `secrets` and seals the list of files."""
    postgres: int
    """The major version of PostgreSQL; 0 without a database."""
    lsn: str
    """The position in PostgreSQL's log at which the copy of the database began."""
    files: list[StoredFile]
    folders: list[str]
    """Folders of the database without files."""
    secrets: StoredFile
    """The encrypted archive of secrets and settings."""
    left_out: list[str]
    """Parts that other servers hold, which are backed up there."""
    seal: str = ""
    """The HMAC-SHA256 of all other fields by the backup key."""

    def seal_of(self, key: bytes) -> str:
        """Return the seal that the key gives this content."""
        return hmac.new(key, self.model_dump_json(exclude={"seal"}).encode(), "sha256").hexdigest()

    @property
    def content(self) -> list[StoredFile]:
        """Return all files, the secrets last."""
        return [*self.files, self.secrets]

    def row(self) -> JsonObject:
        """Return what people see of it. `bytes` are those of all files, without compression."""
        shown = self.model_dump(include={"name", "version", "postgres", "lsn"})
        return {
            **shown,
            "files": len(self.files),
            "bytes": sum(file.size for file in self.files),
            "left_out": "; ".join(self.left_out) or None,
        }


class Repository:
    """The backups at one place: a folder, or an address such as s3://bucket/backups.

    All methods raise BackupStoreError when the place cannot be read or written.
    """

    def __init__(self, place: str) -> None:
        """Open the place. It need not exist. Raises BackupRefusedError for an address with a password."""
        if "://" in place and urlsplit(place).password:
            raise BackupRefusedError(
                "Put no password into the address, which Prefect shows: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or a profile."
            )
        self.place = place if "://" in place else str(Path(place).expanduser().absolute())
        with self._explained():
            self._files: FileSystem = LocalFileSystem()
            self._root = self.place
            if "://" in place:
                self._files, self._root = FileSystem.from_uri(place)

    def names(self) -> list[str]:
        """Return the names of all backups, the oldest first."""
        with self._explained():
            chosen = FileSelector(f"{self._root}/{_BACKUPS}", allow_not_found=True)
            files = [file.base_name for file in self._files.get_file_info(chosen) if file.is_file]
        return sorted(name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX))

    def read(self, name: str | None = None) -> Backup:
        """Return a backup, by default the newest. Raises BackupRefusedError."""
        known = self.names()
        if not known or (name or known[-1]) not in known:
            listed = f"There are {', '.join(known[-5:])}." if known else "Create one with: tailorbird backup create"
            raise BackupRefusedError(f"{self.place} has no backup{f' {name}' if name else ''}. {listed}")
        path = self._manifest(name or known[-1])
        with self._explained(), self._files.open_input_stream(path) as file:
            content = file.read()
        try:
            return Backup.model_validate_json(content)
        except ValidationError:
            raise BackupRefusedError(
                f"{path} is damaged, or of a newer version of Tailorbird. Choose another one: `tailorbird backup list`."
            ) from None

    def put(self, content: IO[bytes], path: str) -> StoredFile:
        """Store the rest of a stream unless a file with its content is stored; return it under this path."""
        digest, size = hashlib.sha256(), 0
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
            while block := content.read(_BLOCK):
                digest.update(block)
                copy.write(block)
                size += len(block)
            name = digest.hexdigest()
            if name not in self._stored:
                copy.seek(0)
                self._write(_object(name), copy, _CODEC)
                self._stored.add(name)
        return StoredFile(path=path, sha256=name, size=size)

    def publish(self, backup: Backup) -> None:
        """Store the list of files. From here on the backup exists."""
        if isinstance(self._files, LocalFileSystem):
            os.sync()
        with tempfile.SpooledTemporaryFile() as file:
            file.write(backup.model_dump_json().encode())
            file.seek(0)
            self._write(f"{_BACKUPS}/{backup.name}{_SUFFIX}", file, None)

    def blocks(self, file: StoredFile) -> Iterator[bytes]:
        """Yield the content of a stored file; raises BackupRefusedError at its end, or earlier, for other content."""
        digest, name = hashlib.sha256(), _object(file.sha256)
        try:
            with self._files.open_input_stream(f"{self._root}/{name}", compression=_CODEC) as stored:
                while block := stored.read(_BLOCK):
                    digest.update(block)
                    yield block
        except FileNotFoundError:
            raise BackupRefusedError(f"{name} is missing ({file.path}).") from None
        except (OSError, pa.ArrowException) as error:
            raise BackupRefusedError(f"{name} cannot be read ({file.path}): {error}") from error
        if digest.hexdigest() != file.sha256:
            raise BackupRefusedError(f"{name} was changed ({file.path}).")

    def verify(self, backup: Backup, advance: Callable[..., None]) -> list[str]:
        """Read every file of a backup; return a sentence for each that is missing or changed."""
        faults = []
        for file in {file.sha256: file for file in backup.content}.values():
            try:
                for _ in self.blocks(file):
                    pass
            except BackupRefusedError as error:
                faults.append(str(error))
            advance(note=file.path)
        return faults

    def prune(self, keep: int) -> list[str]:
        """Delete all backups but the newest `keep`, and files that no backup lists; return the deleted names.

        Call it only where no backup is being created.
        """
        ended = self.names()[:-keep]
        with self._explained():
            for name in ended:
                self._files.delete_file(self._manifest(name))
            needed = {file.sha256 for backup in map(self.read, self.names()) for file in backup.content}
            for file in self._objects():  # with drafts of processes that were killed
                if file.base_name not in needed:
                    self._files.delete_file(file.path)
            self._stored.intersection_update(needed)
        return ended

    @cached_property
    def _stored(self) -> set[str]:
        """The digests of all stored files."""
        with self._explained():
            return {file.base_name for file in self._objects()}

    def _objects(self) -> list[FileInfo]:
        chosen = FileSelector(f"{self._root}/{_OBJECTS}", recursive=True, allow_not_found=True)
        return [file for file in self._files.get_file_info(chosen) if file.is_file]

    def _manifest(self, name: str) -> str:
        return f"{self._root}/{_BACKUPS}/{name}{_SUFFIX}"

    def _write(self, name: str, content: IO[bytes], codec: str | None) -> None:
        """Write a file completely or not at all."""
        folder, _, last = f"{self._root}/{name}".rpartition("/")
        draft = f"{folder}/.{last}.{secrets.token_hex(4)}"
        with self._explained():
            self._files.create_dir(folder, recursive=True)
            with self._files.open_output_stream(draft, compression=codec) as stream:
                while block := content.read(_BLOCK):
                    stream.write(block)
            self._files.move(draft, f"{folder}/{last}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise BackupStoreError(
                f"The backups at {self.place} cannot be read or written: {error}. Check the folder and its disk, or "
                "the bucket, its credentials and AWS_ENDPOINT_URL, then run the command again."
            ) from error


def _object(digest: str) -> str:
    return f"{_OBJECTS}/{digest[:2]}/{digest}"
