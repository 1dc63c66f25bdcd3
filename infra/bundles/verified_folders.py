"""Bundles in folders that nobody else on this machine can change: a server may open them after verification."""

import os
import stat
from pathlib import Path

from infra.bundles.bundle import MANIFEST, store_bundle, verify
from models.errors import TailorbirdError


class SharedFolderError(TailorbirdError):
    """A folder that other users can change."""


def verified_folder(folder: Path, to: Path | None = None, digest: str | None = None) -> Path:
    """Verify a bundle, and return its folder, or that of a copy in `to`: only this user and root can change it.

    The path has no links, so that nobody can let it lead elsewhere. Raises BundleRefusedError and SharedFolderError.
    """
    if to is not None:
        folder, _ = store_bundle(folder, to.absolute(), digest)
    place = folder.resolve()
    if not (place / MANIFEST).is_file():
        verify(place, digest)  # refuses it: no advice about the rights of /tmp or of a device
    check_private(place)
    verify(place, digest)
    return place


def check_private(folder: Path) -> None:
    """Raise SharedFolderError when anybody but this user and root can change a folder, its files or its path.

    The path must be resolved.
    """
    parents = [path for path in folder.parents if not path.stat().st_mode & stat.S_ISVTX]
    # In a folder with the sticky bit, such as /tmp, nobody can replace what belongs to others.
    for path in [folder, *(folder.iterdir() if folder.is_dir() else ()), *parents]:
        about = path.lstat()
        if about.st_uid not in (0, os.geteuid()) or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SharedFolderError(
                f"Other users can change {path}, so {folder} may hold something else by the time it is opened. Run "
                f"`chmod go-w {path}` if it is yours, or give a private folder as --to."
            )
