"""Downloads a registered version to a private folder and verifies it there, before MLflow parses any of it.

MLflow reads `MLmodel` of a model, and runs the code that it names, before it calls our loader.
"""

import re
from pathlib import Path
from typing import Final

from infra.bundles.manifest import BundleRefusedError, read_signed
from infra.bundles.verified_folders import verified_folder
from infra.configuration.settings import Settings, load
from infra.database.engine import engine
from infra.registry.client import Registry
from infra.registry.recorded_versions import RecordedVersion, promoted_version, recorded_version
from infra.registry.registered_bundles import check_version, downloaded_model
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
