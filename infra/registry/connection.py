"""Opens the connection to one MLflow server and translates its errors.

MLflow is imported by the first call: that takes seconds, and most commands import this package without calling MLflow.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

from infra.configuration.settings import load
from infra.services.endpoints import MODEL, page_of
from infra.services.http_client import is_healthy
from models.errors import TailorbirdError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion


NAME: Final = MODEL
"""The experiment and the registered model."""
_HEALTH_SECONDS: Final = 5
KIND: Final = "mlflow.experimentKind"
_VIEW: Final = "decision"
"""Experiments of older versions have a view `models` too, with the names that metrics had then."""


class ArtifactsGoneError(TailorbirdError):
    """MLflow's store no longer has the files of a run."""


class RunGoneError(TailorbirdError):
    """Somebody deleted a run in MLflow."""


class VersionGoneError(TailorbirdError):
    """Somebody deleted a version in MLflow."""


@dataclass(frozen=True)
class Connection:
    """One MLflow server with its experiment and its pages."""

    tracking_uri: str

    @property
    def is_available(self) -> bool:
        """Return whether MLflow answers now; its own client would try for minutes."""
        return is_healthy(f"{self.tracking_uri.rstrip('/')}/health", _HEALTH_SECONDS)

    @cached_property
    def _pages(self) -> str:
        return page_of(self.tracking_uri, load().mlflow_page)

    @cached_property
    def _client(self) -> "MlflowClient":
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri)

    @cached_property
    def _experiment(self) -> str:
        """Return the id of the experiment, which the first call creates."""
        from mlflow.exceptions import MlflowException

        from models.evaluation.metrics.mlflow_names import COLUMNS

        experiment = self._client.get_experiment_by_name(NAME)
        if experiment is None:
            with suppress(MlflowException):  # another process created it first
                self._client.create_experiment(NAME)
            experiment = self._client.get_experiment_by_name(NAME)
        if experiment is None:
            raise RuntimeError(f"MLflow has no experiment {NAME!r} and does not make one.")
        tags = missing_tags(experiment.tags, COLUMNS, int(time.time() * 1000))
        with suppress(MlflowException):  # they only change how its page looks
            for name, value in tags.items():
                self._client.set_experiment_tag(experiment.experiment_id, name, value)
        return str(experiment.experiment_id)

    def experiment_page(self) -> str:
        """Return the address of all runs, with the figures that models are compared by as columns."""
        return experiment_address(self._pages, self._experiment)


MISSING: Final = "RESOURCE_DOES_NOT_EXIST"


@contextmanager
def ignored(code: str) -> Iterator[None]:
    """Suppress the errors of MLflow with this code."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != code:
            raise


@contextmanager
def run_errors(run_id: str) -> Iterator[None]:
    """Raise RunGoneError for a run that MLflow does not have."""
    with ignored(MISSING):
        yield
        return
    raise RunGoneError(f"MLflow has no run {run_id} any more: run `tailorbird review` again.")


@contextmanager
def version_errors(version: int) -> Iterator[None]:
    """Raise VersionGoneError for a version that MLflow does not have."""
    with ignored(MISSING):
        yield
        return
    raise VersionGoneError(f"Version {version} was deleted in MLflow: run `tailorbird review` again.")


def retry_conflict(call: Callable[[], object]) -> None:
    """Call MLflow, and once more after a conflict: of two simultaneous writes of the same value it refuses one."""
    with ignored("BAD_REQUEST"):
        call()
        return
    call()


def missing_tags(known: Mapping[str, str], figures: Sequence[str], now_ms: int) -> dict[str, str]:
    """Return the tags that an experiment lacks; tags that somebody changed stay.

    The tags are MLflow's own. They make its page show the figures that people decide on as columns.
    """
    columns = [f"metrics.`{name}`" for name in figures] + [f"tags.`{name}`" for name in ("stage", "dataset_version")]
    state = {"selectedColumns": columns, "columnOrder": columns}
    view = {"name": "What people decide on", "createdAt": now_ms, "updatedAt": now_ms, "state": json.dumps(state)}
    tags = {KIND: "custom_model_development", f"mlflow.sharedViewState.{_VIEW}": json.dumps(view)}
    return {name: value for name, value in tags.items() if name not in known}


def experiment_address(pages: str, experiment: str) -> str:
    """Return the address of the experiment's runs with those columns.

    By default a browser opens every experiment as one of language models; the address overrides that.
    """
    return f"{pages}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={_VIEW}"


@dataclass(frozen=True)
class Run:
    """A run of the experiment."""

    run_id: str
    name: str
    status: str
    tags: Mapping[str, str]
    artifact_uri: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]

    @classmethod
    def of(cls, run: "MlflowRun") -> Self:
        """Read a run from MLflow's object."""
        info, data = run.info, run.data
        names = str(info.run_id), str(info.run_name), str(info.status)
        return cls(*names, data.tags, str(info.artifact_uri), data.params, data.metrics)


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
