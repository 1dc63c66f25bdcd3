"""The one MLflow client: runs, registered versions and their aliases. People review and decide on MLflow's pages."""

from infra.registry.connection import NAME, ArtifactsGoneError, RunGoneError, VersionGoneError
from infra.registry.runs import MODEL_PATH, NOTE, RUN_KEY
from infra.registry.versions import Versions

__all__ = [
    "MODEL_PATH",
    "NAME",
    "NOTE",
    "RUN_KEY",
    "ArtifactsGoneError",
    "Registry",
    "RunGoneError",
    "VersionGoneError",
]


class Registry(Versions):
    """Runs and model versions on one MLflow server."""
