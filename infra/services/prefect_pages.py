"""Builds addresses of Prefect's pages.

A server has two sets of pages. Without a login, those under `/v2` ask for the password and then show the linked page;
the older ones show an error.
"""

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from infra.services.endpoints import Endpoints

_NEWER: Final = "/v2"
_CLOUD: Final = "prefect.cloud"


def pages_root(page: str) -> str:
    """Return the root of a server's newer pages; Prefect Cloud has only one set of pages."""
    page = page.rstrip("/")
    host = urlsplit(page).hostname or ""
    is_cloud = host == _CLOUD or host.endswith(f".{_CLOUD}")
    return page if is_cloud or page.endswith(_NEWER) else page + _NEWER


def flow_run(endpoints: "Endpoints", run_id: str) -> str:
    """Return the page of a flow run."""
    return f"{runs(endpoints)}/flow-run/{run_id}"


def task_run(endpoints: "Endpoints", run_id: str) -> str:
    """Return the page of a task run."""
    return f"{runs(endpoints)}/task-run/{run_id}"


def runs(endpoints: "Endpoints") -> str:
    """Return the page of all runs."""
    return f"{pages_root(endpoints.prefect_page)}/runs"


def deployments(endpoints: "Endpoints") -> str:
    """Return the page of all deployments."""
    return f"{pages_root(endpoints.prefect_page)}/deployments"


def form(endpoints: "Endpoints", deployment_id: str) -> str:
    """Return the page with the form that starts a run of a deployment."""
    return f"{deployments(endpoints)}/deployment/{deployment_id}/run"
