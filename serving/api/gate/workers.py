"""Lets the workers of one server share their metrics, before the library of metrics is imported."""

import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX: Final = "tailorbird-metrics-"


def share_metrics() -> None:
    """Choose the folder that all workers of this server write to. A server of one process needs none."""
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None or os.environ.get(_FOLDER):
        return
    place = Path(tempfile.gettempdir())
    _delete_left_behind(place)
    folder = place / f"{_PREFIX}{os.getuid()}-{parent.pid}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user. Delete it, or set TMPDIR to another folder.")
    os.environ[_FOLDER] = str(folder)


def _delete_left_behind(place: Path) -> None:
    """Delete the folders of this user's servers that no longer run."""
    for folder in place.glob(f"{_PREFIX}{os.getuid()}-*"):
        number = folder.name.rpartition("-")[2]
        if number.isdigit() and not Path(f"/proc/{number}").exists() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
