"""Looks flow runs up in Prefect, without its client."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from infra.prefect_api.deployments import authorization, crash_all, set_crashed_state
from infra.services.endpoints import Endpoints
from infra.services.http_client import request_json

RUNNING: Final = "RUNNING"
OVER: Final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
"""Types of states after which nothing comes."""
CANCELLED: Final = ("CANCELLED", "CANCELLING")
"""What a person does to a run on its page."""


def find_run(endpoints: Endpoints, run_id: str) -> dict[str, Any] | None:
    """The run as Prefect tells it; None when it knows none, such as one that was deleted."""
    found: dict[str, Any] | None = request_json("GET", f"{_api(endpoints)}/flow_runs/{run_id}", _login(endpoints))
    return found


def find_run_by_key(endpoints: Endpoints, key: str) -> dict[str, Any] | None:
    """The run that was asked for under an idempotency key."""
    chosen = {"flow_runs": {"idempotency_key": {"any_": [key]}}, "limit": 1}
    found = request_json("POST", f"{_api(endpoints)}/flow_runs/filter", _login(endpoints), chosen)
    return found[0] if found else None


def latest_run(endpoints: Endpoints, deployment: str) -> dict[str, Any] | None:
    """Return the run of a deployment that started last; None when none has started."""
    started = {"state": {"type": {"any_": [RUNNING, *OVER, "CANCELLING"]}}, "start_time": {"is_null_": False}}
    chosen = {"deployments": {"name": {"any_": [deployment]}}, "flow_runs": started}
    chosen |= {"sort": "START_TIME_DESC", "limit": 1}
    found = request_json("POST", f"{_api(endpoints)}/flow_runs/filter", _login(endpoints), chosen)
    return found[0] if found else None


def next_planned(endpoints: Endpoints, deployment: str, seconds: float = 2) -> datetime | None:
    """Return when the next planned run of a deployment begins, in UTC; None if none is planned."""
    chosen = {"state": {"name": {"any_": ["Scheduled"]}}}  # and not "Late", by Prefect's clock
    body = {"deployments": {"name": {"any_": [deployment]}}, "flow_runs": chosen, "limit": 1}
    body |= {"sort": "NEXT_SCHEDULED_START_TIME_ASC"}
    found = request_json("POST", f"{_api(endpoints)}/flow_runs/filter", _login(endpoints), body, seconds)
    return datetime.fromisoformat(found[0]["next_scheduled_start_time"]).astimezone(UTC) if found else None


def mark_crashed(endpoints: Endpoints, run_id: str, message: str) -> None:
    """Mark a run whose process is gone as crashed: as `Running` it holds up the next one."""
    set_crashed_state(_api(endpoints), endpoints.environment, run_id, message)


def crash_with_children(endpoints: Endpoints, run_id: str, message: str) -> None:
    """Mark a run as crashed, and the unfinished runs that it started."""
    chosen = {"flow_runs": {"id": {"any_": [run_id]}}}
    crash_all(_api(endpoints), endpoints.environment, chosen, message)


def under_way(endpoints: Endpoints, seconds: float = 2) -> list[dict[str, Any]]:
    """Return the runs that are running and were started by no other run, the oldest first.

    Raises OSError (of urllib) when Prefect does not answer within these `seconds`.
    """
    chosen = {"state": {"type": {"any_": [RUNNING]}}, "parent_task_run_id": {"is_null_": True}}
    body = {"flow_runs": chosen, "sort": "START_TIME_ASC"}
    found: list[dict[str, Any]] = request_json(
        "POST", f"{_api(endpoints)}/flow_runs/filter", _login(endpoints), body, seconds
    )
    return found


def flow_name(endpoints: Endpoints, run: Mapping[str, Any]) -> str:
    """Return the name of a run's flow; empty if Prefect has deleted it."""
    found = request_json("GET", f"{_api(endpoints)}/flows/{run['flow_id']}", _login(endpoints), seconds=2)
    return str((found or {}).get("name", ""))


def describe(run: Mapping[str, Any]) -> str:
    """Return a run's name, since when it runs, and who or what started it."""
    since = (run["start_time"] or run["created"])[:16].replace("T", " ")
    return f"{run['name']} (since {since} UTC, started by {_starter(run)})"


def _starter(run: Mapping[str, Any]) -> str:
    """Return who or what made Prefect start a run: only runs that Tailorbird asks for have a key and no creator."""
    creator, key = run.get("created_by") or {}, run.get("idempotency_key")
    if creator.get("type") == "SCHEDULE":
        return "its schedule"
    if creator.get("type") == "AUTOMATION":
        return f"the automation {creator.get('display_value') or creator.get('id')}"
    return f"Tailorbird: {key}" if key else "a person in Prefect"


def state_of(run: dict[str, Any] | None) -> str:
    """The type of its state; empty for no run."""
    return str(((run or {}).get("state") or {}).get("type") or "")


def _api(endpoints: Endpoints) -> str:
    return endpoints.prefect_api_url.rstrip("/")


def _login(endpoints: Endpoints) -> dict[str, str]:
    return authorization(endpoints.environment)
