"""The one MLflow client: runs, registered versions and their aliases. People review and decide on MLflow's pages."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from infra.registry import connection
from infra.registry.connection import NAME, ArtifactsGoneError, Connection, RegisteredVersion, Run, RunGoneError

MODEL_PATH: Final = "model"
"""The artifact folder of a run's bundle."""
RUN_KEY: Final = "run_key"
NOTE: Final = "mlflow.note.content"
"""The tag that MLflow shows on top of a run's page, as Markdown."""
_PARENT: Final = "mlflow.parentRunId"
_MOST_METRICS: Final = 1_000
"""How many figures MLflow takes in one request."""
_NEWEST: Final = 50
"""How many of the newest versions `tags` reads; people decide about the newest."""


def _all_pages(search: Callable[..., Any]) -> Iterator[Any]:
    token: str | None = ""
    while token is not None:
        page = search(page_token=token or None)
        yield from page
        token = page.token or None


class Registry(Connection):
    """The runs of the experiment, and the versions of the registered model, each made from a run."""

    def finished_run(self, run_key: str) -> Run | None:
        """Return the finished run of this key. Runs that a crash left open are marked as killed."""
        query = f"tags.{RUN_KEY} = '{run_key}'"
        for run in self._client.search_runs([self._experiment], query):
            if run.info.status == "FINISHED":
                return Run.of(run)
            if run.info.status == "RUNNING":
                self._client.set_terminated(run.info.run_id, "KILLED")
        return None

    def newest_run(self, run_key: str) -> str | None:
        """Return the id of the newest run of this key, whatever its status."""
        runs = self._client.search_runs([self._experiment], f"tags.{RUN_KEY} = '{run_key}'", max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def end_open_runs(self, parent: str) -> None:
        """Mark the child runs that a crash left open as killed."""
        query = f"tags.`{_PARENT}` = '{parent}' AND attributes.status = 'RUNNING'"
        for run in self._client.search_runs([self._experiment], query):
            self._client.set_terminated(run.info.run_id, "KILLED")

    def start_run(self, name: str, run_key: str, parameters: Mapping[str, object], tags: Mapping[str, str]) -> str:
        """Open a run; return its id."""
        from mlflow.entities import Param

        run = self._client.create_run(self._experiment, run_name=name, tags={RUN_KEY: run_key, **tags})
        run_id: str = run.info.run_id
        self._client.log_batch(run_id, params=[Param(k, str(v)) for k, v in parameters.items()])
        return run_id

    def record_child_run(
        self,
        name: str,
        parent: str,
        parameters: Mapping[str, object],
        tags: Mapping[str, str],
        steps: Sequence[Mapping[str, float]],
        started: float | None = None,
        *,
        status: str = "FINISHED",
    ) -> str:
        """Record a child run that is over, with its figures by step; return its id.

        `started` is in epoch seconds, by default now.
        """
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        begin = now if started is None else int(started * 1000)
        run = self._client.create_run(self._experiment, start_time=begin, run_name=name, tags={_PARENT: parent, **tags})
        run_id: str = run.info.run_id
        metrics = [Metric(k, float(v), now, step) for step, figures in enumerate(steps) for k, v in figures.items()]
        self._client.log_batch(run_id, metrics, [Param(k, str(v)) for k, v in parameters.items()])
        self._client.set_terminated(run_id, status, now)
        return run_id

    def reopen(self, run_id: str) -> None:
        """Set a run back to running."""
        self._client.update_run(run_id, "RUNNING")

    def log(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Add figures to a run."""
        self.log_steps(run_id, {0: metrics})

    def log_steps(self, run_id: str, steps: Mapping[int, Mapping[str, float]]) -> None:
        """Add figures of several steps to a run, with as few requests as MLflow allows."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(k, float(v), now, step) for step, figures in steps.items() for k, v in figures.items()]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(run_id, metrics=metrics[start : start + _MOST_METRICS])

    def log_dataset(self, run_id: str, version: str, digest: str) -> None:
        """Record the data set that a run used."""
        from mlflow.entities import Dataset, DatasetInput

        dataset = Dataset(name=version, digest=digest[:36], source_type="delta", source=version)
        self._client.log_inputs(run_id, datasets=[DatasetInput(dataset)])

    def log_folder(self, run_id: str, folder: Path, path: str | None = None) -> None:
        """Store the files of a folder as artifacts of the run."""
        self._client.log_artifacts(run_id, str(folder), path)

    def log_file(self, run_id: str, file: Path, path: str) -> None:
        """Store a file in a folder of the run's artifacts, in place of one with the same name."""
        self._client.log_artifact(run_id, str(file), path)

    def forget_model(self, run_id: str, *others: str) -> None:
        """Delete the model of a run with its registered versions, and `others` of its artifacts.

        Another training with the same settings is a new run then.
        """
        for version in self._client.search_model_versions(f"name = '{NAME}' and run_id = '{run_id}'"):
            self._client.delete_model_version(NAME, str(version.version))
        try:
            run = self.run(run_id)
        except RunGoneError:
            return
        if RUN_KEY in run.tags:
            self._client.delete_tag(run_id, RUN_KEY)
        for path in (MODEL_PATH, *others):
            self._stored(run).delete_artifacts(path)

    def runs_before(self, moment: datetime, needed: Collection[str]) -> list[str]:
        """Return the ids of runs that ended before a moment, without needed ones, those of versions, and runs below."""
        query = f"attributes.end_time < {int(moment.timestamp() * 1000)}"
        versions = _all_pages(partial(self._client.search_model_versions, f"name = '{NAME}'"))
        kept = {*needed, *(version.run_id for version in versions)}
        ended = _all_pages(partial(self._client.search_runs, [self._experiment], query))
        return [run.info.run_id for run in ended if kept.isdisjoint({run.info.run_id, run.data.tags.get(_PARENT)})]

    def delete_runs(self, run_ids: Iterable[str]) -> None:
        """Delete runs with all their artifacts. MLflow keeps the figures of a deleted run until `mlflow gc`."""
        for run_id in run_ids:
            self._stored(self.run(run_id)).delete_artifacts()
            self._client.delete_run(run_id)

    def _stored(self, run: Run) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(run.artifact_uri, self.tracking_uri)

    @contextmanager
    def active_run(
        self, name: str, run_key: str, parameters: Mapping[str, object], tags: Mapping[str, str]
    ) -> Iterator[str]:
        """Open a run for the length of the block and yield its id; an exception marks it as failed."""
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

    def run(self, run_id: str) -> Run:
        """Return a run. Raises RunGoneError when it was deleted."""
        with connection.run_errors(run_id):
            return Run.of(self._client.get_run(run_id))

    def page(self, run_id: str) -> str:
        """Return the address of a run's page."""
        return f"{self._pages}/#/experiments/{self._experiment}/runs/{run_id}"

    def artifact_page(self, run_id: str, path: str) -> str:
        """Return the address of a run's page with one of its artifacts open."""
        return f"{self.page(run_id)}/artifacts/{path}"

    def source(self, run_id: str) -> str:
        """Return the address at which MLflow stores the model of a run."""
        return f"{self.run(run_id).artifact_uri}/{MODEL_PATH}"

    def files(self, run_id: str, path: str) -> dict[str, int]:
        """Return the size in bytes of each file in a folder of a run's artifacts; -1 for folders."""
        with connection.run_errors(run_id):
            files = self._client.list_artifacts(run_id, path)
        return {PurePosixPath(file.path).name: -1 if file.is_dir else int(file.file_size or 0) for file in files}

    def download(self, run_id: str, path: str, to: Path) -> Path:
        """Download a file or folder of a run's artifacts. Raises ArtifactsGoneError when it is missing."""
        from mlflow import artifacts
        from mlflow.exceptions import MlflowException

        # At the address `runs:/…` MLflow's client would read the run, which is long, twice more, and look for models.
        source = f"{self.run(run_id).artifact_uri}/{path}"
        try:
            return Path(artifacts.download_artifacts(source, dst_path=str(to), tracking_uri=self.tracking_uri))
        except (MlflowException, OSError) as error:  # OSError is the base of what Requests raises
            # The same errors come for every failure. This call fails too if MLflow or the run is gone.
            self.run(run_id)
            raise ArtifactsGoneError(
                f"MLflow has no {path} of run {run_id} any more, or cannot read it. Restore MLflow's artifacts, or "
                f"delete the run in MLflow and run `tailorbird review`, which trains it again."
            ) from error

    def register(self, run_id: str, tags: Mapping[str, str]) -> int:
        """Return the registered version of a run's model; create it if there is none."""
        with connection.ignored("RESOURCE_ALREADY_EXISTS"):
            self._client.create_registered_model(NAME)
        for known in self._client.search_model_versions(f"name = '{NAME}' and run_id = '{run_id}'"):
            return int(known.version)
        source = self.source(run_id)
        created = self._client.create_model_version(NAME, source, run_id, tags=dict(tags), await_creation_for=0)
        return int(created.version)

    def version(self, version: int) -> RegisteredVersion:
        """Return one registered version. Raises VersionGoneError when it was deleted."""
        with connection.version_errors(version):
            return RegisteredVersion.of(self._client.get_model_version(NAME, str(version)))

    def version_page(self, version: int) -> str:
        """Return the address of a registered version's page."""
        return f"{self._pages}/#/models/{NAME}/versions/{version}"

    def aliases(self) -> dict[str, int]:
        """Return the version of every alias (`champion`, `challenger`); empty before a model is registered."""
        with connection.ignored(connection.MISSING):
            model = self._client.get_registered_model(NAME)
            return {name: int(version) for name, version in model.aliases.items()}
        return {}

    def tags(self) -> dict[int, dict[str, str]]:
        """Return the tags of the newest versions, by version."""
        versions = self._client.search_model_versions(f"name = '{NAME}'", _NEWEST, ["version_number DESC"])
        return {int(version.version): dict(version.tags) for version in versions}

    def set_alias(self, name: str, version: int) -> None:
        """Point an alias at a version. Raises VersionGoneError when it was deleted."""
        with connection.version_errors(version):
            connection.retry_conflict(partial(self._client.set_registered_model_alias, NAME, name, str(version)))

    def drop_alias(self, name: str) -> None:
        """Remove an alias if it is set."""
        if name in self.aliases():
            self._client.delete_registered_model_alias(NAME, name)

    def tag_version(self, version: int, tags: Mapping[str, str]) -> None:
        """Set tags on a version; a reviewer reads them on its page."""
        for key, value in tags.items():
            connection.retry_conflict(partial(self._client.set_model_version_tag, NAME, str(version), key, value))

    def untag_version(self, version: int, *names: str, known: Mapping[str, str] | None = None) -> None:
        """Remove those of these tags that are set. `known` are the tags of the version if they were read already."""
        for name in set(names) & set(self.version(version).tags if known is None else known):
            self._client.delete_model_version_tag(NAME, str(version), name)

    def describe(self, version: int, text: str) -> None:
        """Set the text that MLflow shows on top of a version, as Markdown."""
        self._client.update_model_version(NAME, str(version), text)
