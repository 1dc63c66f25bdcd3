"""Folders of PostgreSQL in memory: there, a copy of a database costs a twentieth of what it costs on a disk."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.services import postgres_user

_MEMORY, _ROOM = Path("/dev/shm"), 2 << 30  # noqa: S108 - only PostgreSQL's user can enter what is made there


@contextmanager
def folder_of_postgres(otherwise: Path) -> Iterator[Path]:
    """Yield a folder for an embedded server; on disk, where the machine has little memory to give."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ROOM:
        yield otherwise
        return
    with TemporaryDirectory(prefix="tailorbird-", dir=_MEMORY, ignore_cleanup_errors=True) as name:
        folder, place = Path(name), Path(name, "postgres")
        folder.chmod(0o711)
        place.mkdir(mode=0o700)
        postgres_user.hand_over([place], postgres_user.server_user())
        yield folder


@contextmanager
def postgres_in_memory(var: Path) -> Iterator[None]:
    """Let the embedded server of an installation, which does not exist yet, keep its data in memory."""
    with folder_of_postgres(var) as folder:
        if folder != var:
            var.mkdir(mode=0o700)
            (var / "postgres").symlink_to(folder / "postgres")
        yield
