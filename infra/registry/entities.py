"""MLflow's objects as types: runs and registered versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Run:
    """A run of the experiment."""

    run_id: str
    name: str
    status: str
    tags: Mapping[str, str]
    artifact_uri: str

    @classmethod
    def of(cls, run: "MlflowRun") -> Self:
        """Read a run from MLflow's object."""
        info = run.info
        return cls(str(info.run_id), str(info.run_name), str(info.status), run.data.tags, str(info.artifact_uri))


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of the registered model."""

    version: int
    run_id: str
    source: str
    """The address that MLflow loads it from."""
    description: str
    tags: Mapping[str, str]

    @classmethod
    def of(cls, version: "ModelVersion") -> Self:
        """Read a version from MLflow's object."""
        run_id, source = str(version.run_id), str(version.source)
        return cls(int(version.version), run_id, source, version.description or "", dict(version.tags))
