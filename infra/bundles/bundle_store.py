"""Keeps the bundles of promoted models in a folder, or in an object store with verified copies on each machine."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.bundles.bundle import is_sound, store_bundle
from infra.bundles.manifest import MANIFEST, BundleRefusedError, verify
from infra.configuration.settings import Settings
from infra.private_files.folders import staged
from models.errors import TailorbirdError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_COPIES: Final = 3
"""How many copies from an object store a machine keeps: the champion's, and two for rollbacks."""


class BundleStoreError(TailorbirdError, ConnectionError):
    """The object store of bundles does not answer, or refuses."""


def keep(settings: Settings, source: Path, digest: str | None) -> str:
    """Store a bundle after its verification; returns its folder, or its address in an object store.

    Raises BundleRefusedError and BundleStoreError.
    """
    folder, digest = store_bundle(source, settings.bundle_folder, digest)
    if "://" not in settings.bundles:
        return str(folder)
    address = _address(settings, digest)
    with _opened(address) as (store, path):
        # The manifest comes last: a copy that was cut short has none, and the next call uploads all files again.
        for name in sorted((file.name for file in folder.iterdir()), key=MANIFEST.__eq__):
            with (folder / name).open("rb") as file, store.open_output_stream(f"{path}/{name}") as stored:
                shutil.copyfileobj(file, stored)
    _delete_old_copies(folder)
    return address


def folder_of(settings: Settings, bundle: str, digest: str) -> Path:
    """Return the folder in which this machine has, or would have, a bundle that `keep` stored."""
    return settings.bundle_folder / digest if "://" in bundle else Path(bundle)


def local_copy(settings: Settings, bundle: str, digest: str) -> Path:
    """Return the folder of a bundle that `keep` stored, after a copy from the object store if this machine has none.

    Raises BundleRefusedError for a bundle that was changed there or is gone, and BundleStoreError.
    """
    folder = folder_of(settings, bundle, digest)
    if "://" not in bundle or is_sound(folder, digest):
        return folder
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with staged(folder.parent) as draft, staged(folder.parent) as damaged:
        with _opened(bundle) as (store, path):
            for name in _names(store, path):
                with store.open_input_stream(f"{path}/{name}") as stored, (draft / name).open("xb") as file:
                    shutil.copyfileobj(stored, file)
        try:
            verify(draft, digest)
        except BundleRefusedError as error:
            raise BundleRefusedError(str(error).replace(str(draft), bundle)) from None
        with suppress(OSError):  # there is no copy yet
            folder.replace(damaged / folder.name)
        with suppress(OSError):  # another process stored the same bundle first
            draft.replace(folder)
    _delete_old_copies(folder)
    return folder


def is_kept(settings: Settings, bundle: str, digest: str) -> bool:
    """Return whether a bundle that `keep` stored is still there. Raises BundleStoreError."""
    if "://" not in bundle:
        return folder_of(settings, bundle, digest).exists()
    with _opened(bundle) as (store, path):
        return MANIFEST in _names(store, path)


def forget(settings: Settings, digest: str) -> None:
    """Delete a bundle here and in the object store. Raises BundleStoreError."""
    shutil.rmtree(settings.bundle_folder / digest, ignore_errors=True)
    if "://" in settings.bundles:
        with _opened(_address(settings, digest)) as (store, path):
            if _names(store, path):
                store.delete_dir(path)


def _delete_old_copies(newest: Path) -> None:
    copies = [one for one in newest.parent.iterdir() if len(one.name) == len(newest.name) and one != newest]
    for old in sorted(copies, key=lambda one: one.stat().st_mtime)[: 1 - _COPIES]:
        shutil.rmtree(old, ignore_errors=True)


def _address(settings: Settings, digest: str) -> str:
    return f"{settings.bundles.rstrip('/')}/{digest}"


def _names(store: "FileSystem", path: str) -> list[str]:
    from pyarrow.fs import FileSelector

    return [file.base_name for file in store.get_file_info(FileSelector(path, allow_not_found=True)) if file.is_file]


@contextmanager
def _opened(address: str) -> "Iterator[tuple[FileSystem, str]]":
    """Yield the object store and the path of an address in it."""
    from pyarrow.fs import FileSystem

    try:
        yield FileSystem.from_uri(address)
    except OSError as error:
        raise BundleStoreError(
            f"The bundle {address} cannot be read or stored: {error}. Check the network, the bucket, the credentials "
            "and AWS_ENDPOINT_URL, then run the command again."
        ) from error
