"""The one MLflow client: runs, registered versions and their aliases. People review and decide on MLflow's pages."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from infra.registry.connection import (
    NAME,
    ArtifactsGoneError,
    RunGoneError,
    VersionGoneError,
    retry_conflict,
    version_errors,
)
from infra.registry.entities import RegisteredVersion
from infra.registry.runs import MODEL_PATH, NOTE, RUN_KEY, Runs

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

_NEWEST: Final = 50
"""How many of the newest versions `tags` reads; people decide about the newest."""


class Registry(Runs):
    """Runs on one MLflow server, and the versions of the registered model, each made from a run."""

    def register(self, run_id: str, tags: Mapping[str, str]) -> int:
        """Return the registered version of a run's model; create it if there is none."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(NAME)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        for known in self._client.search_model_versions(f"name = '{NAME}' and run_id = '{run_id}'"):
            return int(known.version)
        source = self.source(run_id)
        created = self._client.create_model_version(NAME, source, run_id, tags=dict(tags), await_creation_for=0)
        return int(created.version)

    def version(self, version: int) -> RegisteredVersion:
        """Return one registered version. Raises VersionGoneError when it was deleted."""
        with version_errors(version):
            return RegisteredVersion.of(self._client.get_model_version(NAME, str(version)))

    def version_page(self, version: int) -> str:
        """Return the address of a registered version's page."""
        return f"{self._pages}/#/models/{NAME}/versions/{version}"

    def aliases(self) -> dict[str, int]:
        """Return the version of every alias (`champion`, `challenger`); empty before a model is registered."""
        from mlflow.exceptions import MlflowException

        try:
            model = self._client.get_registered_model(NAME)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return {name: int(version) for name, version in model.aliases.items()}

    def tags(self) -> dict[int, dict[str, str]]:
        """Return the tags of the newest versions, by version."""
        versions = self._client.search_model_versions(f"name = '{NAME}'", _NEWEST, ["version_number DESC"])
        return {int(version.version): dict(version.tags) for version in versions}

    def set_alias(self, name: str, version: int) -> None:
        """Point an alias at a version. Raises VersionGoneError when it was deleted."""
        with version_errors(version):
            retry_conflict(partial(self._client.set_registered_model_alias, NAME, name, str(version)))

    def drop_alias(self, name: str) -> None:
        """Remove an alias if it is set."""
        if name in self.aliases():
            self._client.delete_registered_model_alias(NAME, name)

    def tag_version(self, version: int, tags: Mapping[str, str]) -> None:
        """Set tags on a version; a reviewer reads them on its page."""
        for key, value in tags.items():
            retry_conflict(partial(self._client.set_model_version_tag, NAME, str(version), key, value))

    def untag_version(self, version: int, *names: str, known: Mapping[str, str] | None = None) -> None:
        """Remove those of these tags that are set. `known` are the tags of the version if they were read already."""
        for name in set(names) & set(self.version(version).tags if known is None else known):
            self._client.delete_model_version_tag(NAME, str(version), name)

    def describe(self, version: int, text: str) -> None:
        """Set the text that MLflow shows on top of a version, as Markdown."""
        self._client.update_model_version(NAME, str(version), text)
