"""Closes the files of an installation to other users, including files that earlier versions left open."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.private_files.folders import replace_file

if TYPE_CHECKING:
    from infra.configuration.settings import Settings

PRIVATE: Final = 0o077
"""The umask of all processes, and the mode bits that no file may have: only the owner has access."""
_DONE: Final = ".private.json"
"""The file in `var` that lists the places that were closed. Files created later are private from the start."""
_POSTGRES: Final = "postgres"
"""PostgreSQL's data folder is private already and may belong to another user."""


@contextmanager
def private_files() -> Iterator[None]:
    """Make all files that this process creates within the block private."""
    before = os.umask(PRIVATE)
    try:
        yield
    finally:
        os.umask(before)


def repair(settings: "Settings") -> None:
    """Close `var`, the lake and the bundles to other users.

    Each place is walked once, because a lake may hold 100,000 files, and again if its folder is open. Entries of
    another user stay as they are, and so do other files in folders outside `var`.
    """
    settings.var.mkdir(mode=0o700, parents=True, exist_ok=True)
    done, places = _done(settings.var), _places(settings)
    for place, folders in places.items():
        if place not in done or any(map(_is_open, folders)):
            for folder in folders:
                close(folder)
    if remaining := set(places) - done:
        replace_file(settings.var / _DONE, json.dumps(sorted(done | remaining)).encode() + b"\n")


def _places(settings: "Settings") -> dict[str, list[Path]]:
    """Return the folders to close, by the place that contains them."""
    var, places = settings.var.resolve(), {str(settings.var): [settings.var]}
    for setting, names in ((settings.lake, ("events", "datasets")), (settings.bundles, ("[0-9a-f]" * 64,))):
        place = Path(setting).resolve()  # `var/lake` may be a link to another disk
        if "://" not in setting and not place.is_relative_to(var):
            places.setdefault(setting, []).extend(folder for name in names for folder in place.glob(name))
    return places


def _is_open(folder: Path) -> bool:
    try:
        return _to_close(folder.stat())
    except FileNotFoundError:
        return False


def _to_close(status: os.stat_result) -> bool:
    """Return whether a file is open and belongs to this user: other owners may have shared theirs on purpose."""
    return bool(status.st_mode & PRIVATE) and status.st_uid == os.geteuid()


def close(folder: Path) -> None:
    """Close the content of a folder, then the folder: a closed folder was walked completely."""
    with suppress(FileNotFoundError, PermissionError):
        for entry in list(os.scandir(folder)):
            with suppress(FileNotFoundError):  # another process may delete it
                _close_entry(entry)
        status = folder.stat()
        if _to_close(status):
            folder.chmod(stat.S_IMODE(status.st_mode) & ~PRIVATE)


def _close_entry(entry: "os.DirEntry[str]") -> None:
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode) and entry.name != _POSTGRES:
        close(Path(entry.path))
    elif not stat.S_ISLNK(status.st_mode) and _to_close(status):
        Path(entry.path).chmod(stat.S_IMODE(status.st_mode) & ~PRIVATE)


def _done(var: Path) -> set[str]:
    try:
        return set(json.loads((var / _DONE).read_text()))
    except (OSError, ValueError, TypeError):
        return set()
