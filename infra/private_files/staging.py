"""Creates temporary folders in which a process assembles files before it moves them into place."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_PREFIX: Final = ".incoming-"


def synchronise(folder: Path) -> None:
    """Flush a folder to disk, so that the names of its files survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
