"""The one MLflow client: runs, registered versions and their aliases. MLflow is where people look and decide.

MLflow is imported by the first call: that takes seconds, and most commands import this module and ask MLflow nothing.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from infra.configuration.settings import load
from infra.registry import experiment_page
from infra.services.endpoints import MODEL, page_of
from infra.services.http_client import is_healthy
from models.errors import TailorbirdError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

NAME = MODEL
"""The experiment and the registered model."""
MODEL_PATH = "model"
"""Where a run keeps its bundle."""
RUN_KEY = "run_key"
_NEWEST = 50
"""Versions that are looked at; a person decides about the latest."""
NOTE: Final = "mlflow.note.content"
"""The tag that MLflow shows on top of a run's page, as Markdown."""
_PARENT: Final = "mlflow.parentRunId"


class ArtifactsGoneError(TailorbirdError):
    """Files of a run that are not in MLflow's store any more."""


class VersionGoneError(TailorbirdError):
    """A version that somebody deleted in MLflow."""


@dataclass(frozen=True)
class Registry:
    """Runs and model versions on one MLflow server."""

    tracking_uri: str

    @property
    def answers(self) -> bool:
        """Whether MLflow is there now: the client itself would try for minutes."""
        return is_healthy(f"{self.tracking_uri.rstrip('/')}/health", 5)

    @cached_property
    def _pages(self) -> str:
        return page_of(self.tracking_uri, load().mlflow_page)

    @cached_property
    def _client(self) -> "MlflowClient":
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri)

    @cached_property
    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        from models.evaluation.metrics.mlflow_names import TEN

        found = self._client.get_experiment_by_name(NAME)
        if found is None:
            with suppress(MlflowException):  # another process made it first
                self._client.create_experiment(NAME)
            found = self._client.get_experiment_by_name(NAME)
        if found is None:
            raise RuntimeError(f"MLflow has no experiment {NAME!r} and does not make one.")
        tags = experiment_page.missing_tags(found.tags, TEN, int(time.time() * 1000))
        with suppress(MlflowException):  # only looks depend on them
            for name, value in tags.items():
                self._client.set_experiment_tag(found.experiment_id, name, value)
        return str(found.experiment_id)

    def finished_run(self, run_key: str) -> "Run | None":
        """The finished run of this key. Runs that a crash left open are marked as killed."""
        query = f"tags.{RUN_KEY} = '{run_key}'"
        for run in self._client.search_runs([self._experiment], query):
            if run.info.status == "FINISHED":
                return run
            if run.info.status == "RUNNING":
                self._client.set_terminated(run.info.run_id, "KILLED")
        return None

    def newest_run(self, run_key: str) -> str | None:
        """Return the id of the newest run of this key, however it ended."""
        found = self._client.search_runs([self._experiment], f"tags.{RUN_KEY} = '{run_key}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def end_open_runs(self, parent: str) -> None:
        """Mark the runs under another one that a crash left open as killed."""
        query = f"tags.`{_PARENT}` = '{parent}' AND attributes.status = 'RUNNING'"
        for run in self._client.search_runs([self._experiment], query):
            self._client.set_terminated(run.info.run_id, "KILLED")

    def start_run(self, name: str, run_key: str, parameters: Mapping[str, object], tags: Mapping[str, str]) -> str:
        """Open a run; returns its id."""
        from mlflow.entities import Param

        run = self._client.create_run(self._experiment, run_name=name, tags={RUN_KEY: run_key, **tags})
        run_id: str = run.info.run_id
        self._client.log_batch(run_id, params=[Param(k, str(v)) for k, v in parameters.items()])
        return run_id

    def record(
        self,
        name: str,
        parent: str,
        parameters: Mapping[str, object],
        tags: Mapping[str, str],
        steps: Sequence[Mapping[str, float]],
        started: float,
        *,
        status: str = "FINISHED",
    ) -> str:
        """A run that is over, under another one: figures by step, `started` in epoch seconds; returns its id."""
        from mlflow.entities import Metric, Param

        begin, now = int(started * 1000), int(time.time() * 1000)
        under = {_PARENT: parent, **tags}
        run = self._client.create_run(self._experiment, start_time=begin, run_name=name, tags=under)
        run_id: str = run.info.run_id
        figures = [Metric(k, float(v), now, step) for step, found in enumerate(steps) for k, v in found.items()]
        self._client.log_batch(run_id, figures, [Param(k, str(v)) for k, v in parameters.items()])
        self._client.set_terminated(run_id, status, now)
        return run_id

    def reopen(self, run_id: str) -> None:
        """Say that a run goes on."""
        self._client.update_run(run_id, "RUNNING")

    def log(self, run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Add figures to a run."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(run_id, metrics=[Metric(k, float(v), now, step) for k, v in metrics.items()])

    def log_dataset(self, run_id: str, version: str, digest: str) -> None:
        """Say what the run has seen."""
        from mlflow.entities import Dataset, DatasetInput

        seen = Dataset(name=version, digest=digest[:36], source_type="delta", source=version)
        self._client.log_inputs(run_id, datasets=[DatasetInput(seen)])

    def log_folder(self, run_id: str, folder: Path, path: str | None = None) -> None:
        """Store the files of a folder as artifacts of the run."""
        self._client.log_artifacts(run_id, str(folder), path)

    @contextmanager
    def recorded(
        self, name: str, run_key: str, parameters: Mapping[str, object], tags: Mapping[str, str]
    ) -> Iterator[str]:
        """A run by its id for as long as the block; what the block raises makes it a failed one."""
        run_id = self.start_run(name, run_key, parameters, tags)
        try:
            yield run_id
        except BaseException:
            self.finish_run(run_id, ok=False)
            raise
        self.finish_run(run_id)

    def finish_run(self, run_id: str, *, ok: bool = True) -> None:
        """Close a run."""
        self._client.set_terminated(run_id, "FINISHED" if ok else "FAILED")

    def run(self, run_id: str) -> "Run":
        """A run with its parameters, metrics and tags."""
        return self._client.get_run(run_id)

    def experiment_page(self) -> str:
        """Return the address of all runs, with the figures that models are compared by as columns."""
        return experiment_page.address(self._pages, self._experiment)

    def page(self, run_id: str) -> str:
        """The address of a run's page."""
        return f"{self._pages}/#/experiments/{self._experiment}/runs/{run_id}"

    def artifact_page(self, run_id: str, path: str) -> str:
        """The address of a run's page with one of its artifacts open."""
        return f"{self.page(run_id)}/artifacts/{path}"

    def version_page(self, version: int) -> str:
        """The address of a registered version's page."""
        return f"{self._pages}/#/models/{NAME}/versions/{version}"

    def download(self, run_id: str, path: str, to: Path) -> Path:
        """Fetch a file or folder of a run's artifacts. Raises ArtifactsGoneError when it is not there."""
        from mlflow import artifacts
        from mlflow.exceptions import MlflowException

        source = f"runs:/{run_id}/{path}"
        try:
            return Path(artifacts.download_artifacts(source, dst_path=str(to), tracking_uri=self.tracking_uri))
        except MlflowException as error:
            # It answers the same to every failure, also when MLflow itself is away; this call tells which it is.
            self.run(run_id)
            raise ArtifactsGoneError(
                f"MLflow has no {path} of run {run_id} any more, or cannot read it. Restore MLflow's artifacts, or "
                f"delete the run in MLflow and run `tailorbird review`, which trains it again."
            ) from error

    def register(self, run_id: str, tags: Mapping[str, str]) -> int:
        """The registered version of a run's model; made once per run."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(NAME)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        for known in self._client.search_model_versions(f"name = '{NAME}' and run_id = '{run_id}'"):
            return int(known.version)
        source = self.source(run_id)
        made = self._client.create_model_version(NAME, source, run_id, tags=dict(tags), await_creation_for=0)
        return int(made.version)

    def source(self, run_id: str) -> str:
        """Where MLflow stores the model of a run."""
        return f"{self.run(run_id).info.artifact_uri}/{MODEL_PATH}"

    def files(self, run_id: str, path: str) -> dict[str, int]:
        """The size in bytes of each file in a folder of a run's artifacts; -1 for folders."""
        found = self._client.list_artifacts(run_id, path)
        return {PurePosixPath(one.path).name: -1 if one.is_dir else int(one.file_size or 0) for one in found}

    def version(self, version: int) -> "ModelVersion":
        """One registered version. Raises VersionGoneError when it was deleted."""
        with _may_be_gone(version):
            return self._client.get_model_version(NAME, str(version))

    def aliases(self) -> dict[str, int]:
        """Every alias (`champion`, `challenger`) with the version it points at; none before a model is registered."""
        from mlflow.exceptions import MlflowException

        try:
            model = self._client.get_registered_model(NAME)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return {name: int(version) for name, version in model.aliases.items()}

    def tags(self) -> dict[int, dict[str, str]]:
        """The tags of the newest versions."""
        found = self._client.search_model_versions(f"name = '{NAME}'", _NEWEST, ["version_number DESC"])
        return {int(version.version): dict(version.tags) for version in found}

    def set_alias(self, name: str, version: int) -> None:
        """Point an alias at a version. Raises VersionGoneError when it was deleted."""
        with _may_be_gone(version):
            _insist(partial(self._client.set_registered_model_alias, NAME, name, str(version)))

    def drop_alias(self, name: str) -> None:
        """Take an alias away; nothing happens when it is not there."""
        if name in self.aliases():
            self._client.delete_registered_model_alias(NAME, name)

    def ensure_webhook(self, url: str, secret: str) -> None:
        """Let MLflow call that address whenever somebody sets a tag or an alias of a version."""
        known = [hook for hook in self._client.list_webhooks() if hook.name == NAME]
        if any(hook.url == url for hook in known):
            return
        for hook in known:
            self._client.delete_webhook(hook.webhook_id)
        events: list[Any] = ["model_version_tag.set", "model_version_alias.created", "model_version_alias.deleted"]
        self._client.create_webhook(NAME, url, events, secret=secret)

    def tag_version(self, version: int, tags: Mapping[str, str]) -> None:
        """Set tags on a version, where a reviewer reads them."""
        for key, value in tags.items():
            _insist(partial(self._client.set_model_version_tag, NAME, str(version), key, value))

    def untag_version(self, version: int, *names: str) -> None:
        """Take tags away; nothing happens to those that are not there."""
        for name in set(names) & set(self.version(version).tags):
            self._client.delete_model_version_tag(NAME, str(version), name)

    def describe(self, version: int, text: str) -> None:
        """The text that MLflow shows on top of a version, as Markdown."""
        self._client.update_model_version(NAME, str(version), text)


def _insist(call: Callable[[], object]) -> None:
    """MLflow looks, then writes: of two who set the same thing at once one is refused, but not the next time."""
    from mlflow.exceptions import MlflowException

    try:
        call()
    except MlflowException as error:
        if error.error_code != "BAD_REQUEST":
            raise
        call()


@contextmanager
def _may_be_gone(version: int) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise VersionGoneError(f"Version {version} was deleted in MLflow: run `tailorbird review` again.") from None
