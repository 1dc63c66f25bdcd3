"""Finds flow runs in Prefect, describes them, starts lost ones again, and marks them as crashed."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from infra.prefect_api import deployments
from infra.prefect_api.client import SECONDS, FlowRun, PrefectClient
from infra.services.endpoints import Endpoints

RUNNING: Final = "RUNNING"
OVER: Final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
"""Types of final states."""
CANCELLED: Final = ("CANCELLED", "CANCELLING")
"""Types of the states that a person sets on a run's page."""
_UNFINISHED: Final[Mapping[str, Any]] = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
MOST: Final = 3
"""The number of runs that are started for one cause."""


class Attempt(Enum):
    """The outcome of a request for one more run."""

    STARTED = auto()
    UNDER_WAY = auto()
    CANCELLED = auto()
    EXHAUSTED = auto()
    NOT_DEPLOYED = auto()


def find_run(endpoints: Endpoints, run_id: str) -> FlowRun | None:
    """Return a run by its id; None if Prefect does not know it, because it was deleted for example."""
    run = PrefectClient.of(endpoints).get(f"/flow_runs/{run_id}")
    return FlowRun.from_json(run) if run else None


def find_run_by_key(endpoints: Endpoints, key: str) -> FlowRun | None:
    """Return the run that was started with an idempotency key; None if there is none."""
    return _first(endpoints, {"flow_runs": {"idempotency_key": {"any_": [key]}}})


def latest_run(endpoints: Endpoints, deployment: str) -> FlowRun | None:
    """Return the run of a deployment that started last; None when none has started."""
    started = {"state": {"type": {"any_": [RUNNING, *OVER, "CANCELLING"]}}, "start_time": {"is_null_": False}}
    query = {"deployments": {"name": {"any_": [deployment]}}, "flow_runs": started, "sort": "START_TIME_DESC"}
    return _first(endpoints, query)


def next_planned(endpoints: Endpoints, deployment: str, seconds: float = 2) -> datetime | None:
    """Return when the next planned run of a deployment starts, in UTC; None if none is planned."""
    planned = {"state": {"name": {"any_": ["Scheduled"]}}}  # and not "Late", by Prefect's clock
    query = {"deployments": {"name": {"any_": [deployment]}}, "flow_runs": planned}
    run = _first(endpoints, query | {"sort": "NEXT_SCHEDULED_START_TIME_ASC"}, seconds)
    return run.next_start if run else None


def under_way(endpoints: Endpoints, seconds: float = 2) -> list[FlowRun]:
    """Return the running runs that no other run started, the oldest first.

    Raises PrefectError when Prefect does not answer within these `seconds`.
    """
    query = {"state": {"type": {"any_": [RUNNING]}}, "parent_task_run_id": {"is_null_": True}}
    body = {"flow_runs": query, "sort": "START_TIME_ASC"}
    return [FlowRun.from_json(run) for run in PrefectClient.of(endpoints).find("/flow_runs", body, seconds)]


def flow_name(endpoints: Endpoints, run: FlowRun) -> str:
    """Return the name of a run's flow; empty if Prefect has deleted it."""
    flow = PrefectClient.of(endpoints).get(f"/flows/{run.flow_id}", seconds=2)
    return str((flow or {}).get("name", ""))


def describe(run: FlowRun) -> str:
    """Return a run's name, its start, and the person or thing that started it."""
    return f"{run.name} (since {run.started or run.created:%Y-%m-%d %H:%M} UTC, started by {_starter(run)})"


def state_of(run: FlowRun | None) -> str:
    """Return the type of a run's state; empty for no run."""
    return run.state if run else ""


def mark_crashed(endpoints: Endpoints, run_id: str, message: str) -> None:
    """Mark a run whose process has ended as crashed: as `Running` it holds up the next one."""
    _set_crashed(PrefectClient.of(endpoints), "flow_runs", run_id, message)


def crash_with_children(endpoints: Endpoints, run_id: str, message: str) -> None:
    """Mark a run as crashed, and the unfinished runs that it started."""
    _crash_all(PrefectClient.of(endpoints), {"flow_runs": {"id": {"any_": [run_id]}}}, message)


def crash_worker_runs(client: PrefectClient, pool: str) -> None:
    """Mark the unfinished runs of a stopped worker as crashed: as `Running` they hold up the next ones for minutes."""
    query = {"work_pools": {"name": {"any_": [pool]}}, "flow_runs": _UNFINISHED}
    _crash_all(client, query, "The worker was stopped while this ran.")


def _first(endpoints: Endpoints, query: Mapping[str, Any], seconds: float = SECONDS) -> FlowRun | None:
    runs = PrefectClient.of(endpoints).find("/flow_runs", {**query, "limit": 1}, seconds)
    return FlowRun.from_json(runs[0]) if runs else None


def _starter(run: FlowRun) -> str:
    """Return the starter of a run: only runs that Tailorbird requests have a key and no creator."""
    kind = run.creator.get("type")
    if kind == "SCHEDULE":
        return "its schedule"
    if kind == "AUTOMATION":
        return f"the automation {run.creator.get('display_value') or run.creator.get('id')}"
    return f"Tailorbird: {run.idempotency_key}" if run.idempotency_key else "a person in Prefect"


def _crash_all(client: PrefectClient, query: Mapping[str, Any], message: str) -> None:
    """Mark the matching runs as crashed, with their unfinished tasks and the unfinished runs that they started."""
    while runs := client.find("/flow_runs", query):
        for run in runs:
            _set_crashed(client, "flow_runs", run["id"], message)
        ids = {"any_": [run["id"] for run in runs]}
        for task in client.find("/task_runs", {"flow_runs": {"id": ids}, "task_runs": _UNFINISHED}):
            _set_crashed(client, "task_runs", task["id"], message)
        query = {"flow_runs": {**_UNFINISHED, "parent_flow_run_id": ids}}


def _set_crashed(client: PrefectClient, collection: str, run_id: str, message: str) -> None:
    state = {"type": "CRASHED", "name": "Crashed", "message": message}
    client.post(f"/{collection}/{run_id}/set_state", {"state": state, "force": True})


def start_next_run(endpoints: Endpoints, deployment: str, cause: str, parameters: Mapping[str, Any]) -> Attempt:
    """Start the next run for a cause, unless one is under way or a person cancelled the last one.

    The number of the run is part of its idempotency key, so two simultaneous requests start one run.
    Raises PrefectError when Prefect does not answer.
    """
    for number in range(1, MOST + 1):
        key = f"{cause}, run {number}"
        state = state_of(find_run_by_key(endpoints, key))
        if not state:
            started = deployments.start_run(endpoints, deployment, key, parameters)
            return Attempt.STARTED if started else Attempt.NOT_DEPLOYED
        if state in CANCELLED:
            return Attempt.CANCELLED
        if state not in OVER:
            return Attempt.UNDER_WAY
    return Attempt.EXHAUSTED
