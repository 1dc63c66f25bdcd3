"""Builds addresses of the pages of Prefect, MLflow and Data Docs, without their clients."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from infra.configuration.settings import Settings
from infra.services.data_docs import PAGE, folder_name, pages_folder
from infra.services.endpoints import MODEL, endpoints
from infra.services.prefect_pages import flow_run, runs
from models.errors import TailorbirdError

_RUN = "RUN"


@dataclass(frozen=True)
class Pages:
    """The pages of an installation; addresses are empty if it does not know its services."""

    docs: Path
    """The folder of Data Docs."""
    docs_page: str = ""
    mlflow: str = ""
    prefect_runs: str = ""
    prefect_run: str = field(default="", repr=False)
    """With `_RUN` in place of the run."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the pages of the services that are configured or have run."""
        folder = pages_folder(settings.var)
        try:
            known = endpoints(settings)
        except (TailorbirdError, OSError):
            return cls(folder)
        return cls(folder, known.docs_page, known.mlflow_page, runs(known), flow_run(known, _RUN))

    def version(self, version: int | None) -> str | None:
        """Return the page of a registered version."""
        return f"{self.mlflow}/#/models/{MODEL}/versions/{version}" if self.mlflow and version is not None else None

    def run(self, flow_run_id: str | None = None) -> str | None:
        """Return the page of a flow run; the page of all runs if its id is not known."""
        if flow_run_id and self.prefect_run:
            return self.prefect_run.replace(_RUN, flow_run_id)
        return self.prefect_runs or None

    def batch(self, batch_id: str) -> str | None:
        """Return the Data Docs of a batch, as long as they are kept; else the page of all runs."""
        name = folder_name(batch_id)
        if self.docs_page and (self.docs / name / PAGE).is_file():
            return f"{self.docs_page}/{name}/"
        return self.run()
