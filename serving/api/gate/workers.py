"""Prepares the process of a server before it imports the libraries that read the environment."""

import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX: Final = "tailorbird-metrics-"
_TURN_SECONDS: Final = 0.0001


def prepare() -> None:
    """Prepare this process for its start.

    Each product of matrices gets one thread, unless the environment states a number: the products of one list are
    small, so several threads would wait for each other longer than they compute. Until `settle` nothing is collected:
    what a start loads stays, and collections would take a fifth of its time. Until then, too, threads take turns often:
    one that decompresses arrays needs the interpreter for a moment after each piece, while others import modules.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    gc.disable()
    sys.setswitchinterval(_TURN_SECONDS)


def share_metrics() -> None:
    """Choose the folder that all workers of this server write to. A server of one process needs none."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        share_metrics_of(parent.pid)


def share_metrics_of(server: int) -> None:
    """Choose the folder for the workers of the process with this number, unless one is chosen."""
    if os.environ.get(_FOLDER):
        return
    place = Path(tempfile.gettempdir())
    _delete_left_behind(place)
    folder = place / f"{_PREFIX}{os.getuid()}-{server}"
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
