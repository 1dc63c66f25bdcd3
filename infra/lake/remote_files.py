"""Copies Parquet files from an object store, for engines that cannot sign in there.

The copies are deleted with the process: an erasure rewrites files, and no copy may outlast it for long.
"""

import atexit
import hashlib
import os
import shutil
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile, mkdtemp
from typing import Final
from urllib.parse import unquote

from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem

_PREFIX: Final = "tailorbird-lake-"
_BLOCK: Final = 1 << 20


def local_copies(table: DeltaTable) -> list[str]:
    """Return the paths of copies of a table's files; each is copied once per process."""
    root = table.table_uri.rstrip("/")
    folder = _folder() / hashlib.sha256(root.encode()).hexdigest()[:16]
    store = PyFileSystem(DeltaStorageHandler(unquote(root)))
    names = [unquote(address.removeprefix(root).lstrip("/")) for address in table.file_uris()]
    for name in names:
        if not (folder / name).exists():
            _copy(store, name, folder / name)
    return [str(folder / name) for name in names]


def _copy(store: PyFileSystem, name: str, target: Path) -> None:
    """Copy a file completely or not at all: other threads may copy the same one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with store.open_input_stream(name) as source, NamedTemporaryFile(dir=target.parent, delete=False) as part:
        shutil.copyfileobj(source, part, _BLOCK)
    Path(part.name).replace(target)


@cache
def _folder() -> Path:
    """Return this process's folder of copies (below TMPDIR), which only its user can read."""
    folder = Path(mkdtemp(prefix=_PREFIX))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # forked processes share the folder
        shutil.rmtree(folder, ignore_errors=True)
