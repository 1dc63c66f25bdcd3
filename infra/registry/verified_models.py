"""Downloads a registered version to a private folder and verifies it there, before MLflow parses any of it.

MLflow reads `MLmodel` of a model, and runs the code that it names, before it calls our loader.
"""

import os
import re
import stat
from pathlib import Path
from typing import Final

from infra.bundles.bundle import store_bundle
from infra.bundles.manifest import MANIFEST, BundleRefusedError, read_signed, verify
from infra.configuration.settings import Settings, load
from infra.database.engine import engine
from infra.registry.client import Registry
from infra.registry.registered_bundles import (
    RecordedVersion,
    check_version,
    downloaded_model,
    promoted_version,
    recorded_version,
)
from infra.services.endpoints import MODEL, database_url, endpoints, export
from models.errors import TailorbirdError

_ADDRESS: Final = re.compile(rf"models:/{MODEL}(?:/(?P<version>[0-9]{{1,9}})|@(?P<alias>[\w-]+))", re.ASCII)
_CHAMPION: Final = "champion"


def verified_copy(model: str, to: Path | None = None, digest: str | None = None) -> Path:
    """Return the folder of a verified copy of `models:/tailorbird/<version>` or `models:/tailorbird@<alias>`.

    The copy is `<to>/<digest>`, by default in `var/verified`, and only its owner can change it. If a database is
    configured, the version must have the run and digest that Postgres recorded. Otherwise only the signature is
    checked: give the expected `digest` of the manifest to accept no other bundle.
    Raises BundleRefusedError, TailorbirdError, SharedFolderError.
    """
    settings = load()
    if settings.mlflow_tracking_uri is None:
        export(endpoints(settings))
    return verified_version(settings, Registry(str(load().mlflow_tracking_uri)), model, to, digest)


def verified_version(settings: Settings, registry: Registry, model: str, to: Path | None, digest: str | None) -> Path:
    """Do the same with a given registry instead of that of the environment."""
    number = _number(registry, model)
    recorded = _recorded(settings, model, number) if _has_database(settings) else None
    if digest and recorded and recorded.digest != digest:
        raise BundleRefusedError(f"Version {number} was recorded with the digest {recorded.digest}, not {digest}.")
    version = registry.version(number)
    run_id = (recorded.run_id if recorded else None) or version.run_id
    check_version(registry, version, run_id)
    with downloaded_model(registry, run_id) as folder:
        signed_run = read_signed(folder).run_id
        if signed_run != run_id:
            raise BundleRefusedError(f"The run {run_id} in MLflow holds the signed model of another run, {signed_run}.")
        return verified_folder(folder, to or settings.var / "verified", recorded.digest if recorded else digest)


def _has_database(settings: Settings) -> bool:
    """Return whether a database records the digests. A database that is down is an outage: digests are compared."""
    return settings.database_url is not None or (settings.var / "postgres").exists()


def _number(registry: Registry, model: str) -> int:
    address = _ADDRESS.fullmatch(model)
    if address is None:
        raise TailorbirdError(f"{model!r} is no address such as models:/{MODEL}/3 or models:/{MODEL}@champion.")
    if address["version"]:
        return int(address["version"])
    number = registry.aliases().get(address["alias"])
    if number is None:
        raise TailorbirdError(f"No version in MLflow has the alias {address['alias']!r}.")
    return number


def _recorded(settings: Settings, model: str, number: int) -> RecordedVersion:
    with engine(database_url(settings)).connect() as connection:
        if model.endswith(f"@{_CHAMPION}") and promoted_version(connection) != number:
            raise BundleRefusedError(
                f"The alias {_CHAMPION} is on version {number} in MLflow, which is not the promoted one. Without an "
                "argument `tailorbird verify` names the promoted one."
            )
        recorded = recorded_version(connection, number)
    if recorded is None:
        raise BundleRefusedError(
            f"No review recorded the digest of version {number}, so nothing vouches for it: run `tailorbird review`."
        )
    return recorded


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
