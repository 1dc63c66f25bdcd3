"""Creates temporary folders for downloads. The next process removes folders of killed ones."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp


@contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """Yield a new folder in `place`, which is removed after the block."""
    place.mkdir(parents=True, exist_ok=True)
    with _held(place):
        _sweep(place)
        folder = Path(mkdtemp(dir=place))
        lock = _lock(folder)
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep(place: Path) -> None:
    """Remove folders whose process ended, and so released the lock."""
    for folder in place.iterdir():
        try:
            os.close(_lock(folder, fcntl.LOCK_NB))
        except OSError:
            continue
        rmtree(folder, ignore_errors=True)


def _lock(folder: Path, how: int = 0) -> int:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | how)
    except OSError:
        os.close(handle)
        raise
    return handle


@contextmanager
def _held(place: Path) -> Iterator[None]:
    handle = _lock(place)
    try:
        yield
    finally:
        os.close(handle)
