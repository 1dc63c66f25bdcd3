"""Starts a requested retraining if its event was lost, its run died, or no worker ran."""

from typing import Final

from infra.installation import Installation
from infra.prefect_api import events, flow_runs
from infra.prefect_api.flow_runs import MOST, Attempt, start_next_run
from infra.services import prefect_pages
from models.primitives.json_types import JsonObject
from tasks.monitoring.retraining.requests import Request, abandoned_request, give_up

ATTEMPTS: Final = 3
"""Attempts at a request, and runs that are started per attempt, before the request is given up."""
_GRACE: Final = 20
"""Seconds for the event to start a run, which takes about ten."""


def restart_retrain(installation: Installation) -> str | None:
    """Start `retrain` for a request without a live run; returns a line about it, or None if nothing was due.

    A surplus run ends immediately, because only one run can claim the request. The run after a lost one gets the same
    parameters. A run that a person cancelled is not started again.
    """
    with installation.engine.connect() as connection:
        request = abandoned_request(connection, _GRACE)
    if request is None:
        return None
    last = flow_runs.find_run(installation.endpoints, request.flow_run) if request.flow_run else None
    if flow_runs.state_of(last) in flow_runs.CANCELLED:
        return _close(installation, request, "a person cancelled its run", alert=False)
    if request.fence >= ATTEMPTS:
        return _close(installation, request, f"given up after {ATTEMPTS} attempts: each of its runs was lost")
    return _start(installation, request, last.parameters if last else {})


def _start(installation: Installation, request: Request, parameters: JsonObject) -> str | None:
    """Start one more run, unless one is under way."""
    cause = f"retrain request {request.request_id}, attempt {request.fence + 1}"
    next_parameters = {**parameters, "request": request.request_id}
    attempt = start_next_run(installation.endpoints, "retrain", cause, next_parameters)
    if attempt is Attempt.STARTED:
        return f"Retrain request {request.request_id}: a run was started."
    if attempt is Attempt.CANCELLED:
        return _close(installation, request, "a person cancelled its run", alert=False)
    if attempt is Attempt.EXHAUSTED:
        return _close(installation, request, f"given up: {MOST} runs ended before they began to work on it")
    return None


def _close(installation: Installation, request: Request, outcome: str, alert: bool = True) -> str | None:
    with installation.engine.begin() as connection:
        if not give_up(connection, request, outcome):
            return None  # a run has claimed it just now
    if alert:
        reason = f"Retrain request {request.request_id} ({request.origin}: {request.reason}) was {outcome}."
        page = (
            prefect_pages.flow_run(installation.endpoints, request.flow_run)
            if request.flow_run
            else prefect_pages.runs(installation.endpoints)
        )
        payload = {"request": request.request_id, "reason": reason, "page": page}
        events.try_emit(installation.endpoints, events.GIVEN_UP, events.request_resource(request.request_id), payload)
    return f"Retrain request {request.request_id} is over: {outcome}."
