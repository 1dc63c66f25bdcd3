"""Replaces files and folders in one step, and opens only regular files: never a link, a pipe or a path elsewhere."""

import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Final

_PREFIX: Final = ".incoming-"


def sha256(path: Path) -> str:
    """Return the digest of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def synchronise(folder: Path) -> None:
    """Flush a folder to disk, so that the names of its files survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, in one step: others read the earlier content, or all of the new one.

    Raises OSError.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError:
        with suppress(OSError):  # the folder may belong to somebody else
            draft.unlink(missing_ok=True)
        raise


@contextmanager
def staged(root: Path) -> Iterator[Path]:
    """Yield an empty folder in `root`, and remove it after the block unless it was moved.

    Folders of killed processes are removed first: those of live processes are locked.
    """
    for leftover in root.glob(f"{_PREFIX}*"):
        _remove_unlocked(leftover)
    folder, lock = _locked_folder(root)
    try:
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _locked_folder(root: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(dir=root, prefix=_PREFIX))
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():  # else another process removed it just before it was locked
            return folder, lock
        os.close(lock)


def _remove_unlocked(folder: Path) -> None:
    with suppress(OSError):  # another process uses it, or has removed it
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# O_NONBLOCK: opening a pipe without a writer would block forever.


def is_plain_name(name: str) -> bool:
    """Return whether a name is that of a direct entry of a folder: no path, no `..`, not empty."""
    return name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)


@contextmanager
def opened_folder(folder: Path) -> Iterator[int]:
    """Yield a descriptor of a folder, whose path may contain links. Raises OSError.

    The descriptor stays with this folder even if its path is moved or redirected later.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_regular(folder: int, name: str) -> BufferedReader:
    """Open a regular file of a folder for reading. Raises OSError for anything else."""
    if not is_plain_name(name):
        raise OSError(f"{name!r} is no plain file name")
    descriptor = os.open(name, _FLAGS, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{name!r} is no regular file")
    return os.fdopen(descriptor, "rb")
