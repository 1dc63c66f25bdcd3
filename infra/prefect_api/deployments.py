"""Tells Prefect what prefect.yaml says: the work pool and the deployments, and only when something changed."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.configuration.settings import Settings
from infra.prefect_api import deployment_file
from infra.prefect_api.deployment_file import DEMO
from infra.services.endpoints import Endpoints
from infra.services.http_client import basic_auth, request_json
from infra.services.processes import tail
from models.errors import TailorbirdError

_VARIABLE = "tailorbird_deployed"
_UNFINISHED = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}


class DeployFailedError(TailorbirdError):
    """Prefect refused prefect.yaml or one of its flows."""


def ensure_pool(api: str, environment: Mapping[str, str]) -> None:
    """The pool has to be there before deployments name it; the worker fills in its job template."""
    headers = authorization(environment)
    if request_json("GET", f"{api}/work_pools/{POOL}", headers) is None:
        pool = {
            "name": POOL,
            "type": "process",
            "description": "Flow runs on this machine, started by `tailorbird up`.",
        }
        request_json("POST", f"{api}/work_pools/", headers, pool)


def start_deploy(
    api: str, environment: Mapping[str, str], settings: Settings, log: Path, *, demo: bool
) -> "subprocess.Popen[bytes] | None":
    """Start `prefect deploy --all`, or return None when the server already has exactly this state of the flows.

    `environment` is all that it gets. With `demo` the deployment of the demo is among them.
    """
    home = settings.home
    kept = request_json("GET", f"{api}/variables/name/{_VARIABLE}", authorization(environment))
    if kept is not None and kept["value"] == fingerprint(settings, demo=demo):
        return None
    if not (home / "prefect.yaml").is_file():
        raise DeployFailedError(
            f"There is no prefect.yaml in {home}. Run this in a clone, or set TAILORBIRD_HOME to one."
        )
    # Left out, so that Prefect keeps the template and each worker fills in its own folder.
    place = {name: value for name, value in environment.items() if name != "TAILORBIRD_HOME"}
    log.parent.mkdir(parents=True, exist_ok=True)
    file = deployment_file.write(settings, settings.var / "prefect" / "deployments.yaml", demo=demo)
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)],
            cwd=home,
            env=place,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def finish_deploy(
    deploy: "subprocess.Popen[bytes]",
    api: str,
    environment: Mapping[str, str],
    settings: Settings,
    log: Path,
    *,
    demo: bool,
) -> None:
    """Wait for it, and note on the server what it has now; a server with an empty database knows nothing."""
    if deploy.wait(timeout=300) != 0:
        raise DeployFailedError(f"`prefect deploy --all` failed. The end of {log}:\n{tail(log)}")
    headers, value = authorization(environment), {"value": fingerprint(settings, demo=demo)}
    if not demo:
        _remove(api, headers, DEMO)
    if request_json("PATCH", f"{api}/variables/name/{_VARIABLE}", headers, value) is None:
        request_json("POST", f"{api}/variables/", headers, {"name": _VARIABLE, **value})


def start_run(endpoints: Endpoints, name: str, key: str, parameters: Mapping[str, Any]) -> bool:
    """Start a deployment, once for each key however often it is asked; False when that was done before."""
    api, headers = endpoints.prefect_api_url.rstrip("/"), authorization(endpoints.environment)
    found = request_json("GET", f"{api}/deployments/name/{name}/{name}", headers)
    if found is None:  # nothing was deployed yet
        return False
    chosen = {"deployment_id": {"any_": [found["id"]]}, "idempotency_key": {"any_": [key]}}
    if request_json("POST", f"{api}/flow_runs/count", headers, {"flow_runs": chosen}):
        return False
    request_json(
        "POST",
        f"{api}/deployments/{found['id']}/create_flow_run",
        headers,
        {"idempotency_key": key, "parameters": parameters},
    )
    return True


def crash_worker_runs(api: str, environment: Mapping[str, str]) -> None:
    """Mark the runs of a worker that is gone as crashed: as `Running` they would hold up the next ones for minutes."""
    chosen: dict[str, Any] = {"work_pools": {"name": {"any_": [POOL]}}, "flow_runs": _UNFINISHED}
    crash_all(api, environment, chosen, "The worker was stopped while this ran.")


def crash_all(api: str, environment: Mapping[str, str], chosen: Mapping[str, Any], message: str) -> None:
    """Mark the chosen runs as crashed, and their unfinished tasks and the unfinished runs that they started."""
    headers = authorization(environment)
    while runs := request_json("POST", f"{api}/flow_runs/filter", headers, chosen):
        for start_run in runs:
            set_crashed_state(api, environment, start_run["id"], message)
        ids = {"any_": [start_run["id"] for start_run in runs]}
        tasks = {"flow_runs": {"id": ids}, "task_runs": _UNFINISHED}
        for task in request_json("POST", f"{api}/task_runs/filter", headers, tasks) or ():
            set_crashed_state(api, environment, task["id"], message, "task_runs")
        chosen = {"flow_runs": {**_UNFINISHED, "parent_flow_run_id": ids}}


def set_crashed_state(
    api: str, environment: Mapping[str, str], run_id: str, message: str, kind: str = "flow_runs"
) -> None:
    """Set the state of a run of a flow or a task to crashed, whatever it was: its process is gone."""
    state = {"type": "CRASHED", "name": "Crashed", "message": message}
    request_json(
        "POST", f"{api}/{kind}/{run_id}/set_state", authorization(environment), {"state": state, "force": True}
    )


def _remove(api: str, headers: Mapping[str, str], name: str) -> None:
    """Delete a deployment that an earlier version sent to every installation."""
    if found := request_json("GET", f"{api}/deployments/name/{name}/{name}", headers):
        request_json("DELETE", f"{api}/deployments/{found['id']}", headers)


def fingerprint(settings: Settings, *, demo: bool) -> str:
    """Changes with prefect.yaml, with the times of the settings and with the flows, whose docstrings make the forms."""
    home = settings.home
    digest = hashlib.sha256(f"{sorted(settings.schedules.items())} {demo}\0".encode())
    for path in [home / "prefect.yaml", *sorted((home / "flows").glob("*.py"))]:
        if path.is_file():
            digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def authorization(environment: Mapping[str, str]) -> dict[str, str]:
    """How to log in to Prefect, as headers of a request."""
    everything = {**os.environ, **environment}
    if login := everything.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": basic_auth(login)}
    if key := everything.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    return {}


POOL = "tailorbird"
