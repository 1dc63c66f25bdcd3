"""Registers the model of a reviewed run as a version in MLflow."""

from collections.abc import Mapping

from infra.installation import Installation
from infra.locks.advisory_locks import locked
from infra.registry.client import Registry
from infra.registry.registered_bundles import check_listing, check_version
from tasks.promotion.recorded_bundles import TrainedBundle


def register_version(
    installation: Installation, registry: Registry, bundle: TrainedBundle, tags: Mapping[str, str]
) -> int:
    """Register the model that training recorded; returns its version. Raises BundleRefusedError for another model."""
    number = register_once(installation, registry, bundle.run_id, tags)
    check_version(registry, registry.version(number), bundle.run_id)
    check_listing(registry, bundle.run_id, bundle.digest)
    return number


def register_once(installation: Installation, registry: Registry, run_id: str, tags: Mapping[str, str]) -> int:
    """Return the registered version of a run's model; concurrent callers get the same version.

    MLflow alone would register a version for each caller, and all but one would never be reviewed.
    """
    with locked(installation.engine, f"register run {run_id}", wait=True):
        return registry.register(run_id, tags)
