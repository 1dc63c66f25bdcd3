"""Verifies bundles in folders that no other user of this machine can change, so that a server may open them later."""

import os
import stat
from pathlib import Path

from infra.bundles.bundle import MANIFEST, store_bundle, verify
from models.errors import TailorbirdError


class SharedFolderError(TailorbirdError):
    """Other users can change a folder."""


def verified_folder(folder: Path, to: Path | None = None, digest: str | None = None) -> Path:
    """Verify a bundle and return its folder, or the folder of a copy in `to`. Only this user and root can change it.

    The returned path has no links, so nobody can redirect it. Raises BundleRefusedError and SharedFolderError.
    """
    if to is not None:
        folder, _ = store_bundle(folder, to.absolute(), digest)
    place = folder.resolve()
    if not (place / MANIFEST).is_file():
        verify(place, digest)  # raises BundleRefusedError instead of advice about the rights of /tmp
    check_private(place)
    verify(place, digest)
    return place


def check_private(folder: Path) -> None:
    """Raise SharedFolderError when a user other than this one and root can change a folder, its files or its path.

    The path must be resolved.
    """
    parents = [path for path in folder.parents if not path.stat().st_mode & stat.S_ISVTX]
    # In a folder with the sticky bit, such as /tmp, users cannot replace files of others.
    for path in [folder, *(folder.iterdir() if folder.is_dir() else ()), *parents]:
        status = path.lstat()
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SharedFolderError(
                f"Other users can change {path}, so {folder} may hold something else by the time it is opened. Run "
                f"`chmod go-w {path}` if it is yours, or give a private folder as --to."
            )
