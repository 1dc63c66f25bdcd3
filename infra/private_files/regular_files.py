"""Opens regular files of one folder; never a link, a pipe, a device or a path out of the folder."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

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
