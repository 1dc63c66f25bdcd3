"""Starts a deployment for a cause again when its run was lost, up to a few times."""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

from infra.prefect_api import deployments, flow_runs
from infra.services.endpoints import Endpoints

MOST: Final = 3
"""The number of runs that are started for one cause."""


class Attempt(Enum):
    """The outcome of a request for one more run."""

    STARTED = auto()
    UNDER_WAY = auto()
    CANCELLED = auto()
    EXHAUSTED = auto()
    NOT_DEPLOYED = auto()


def start_next_run(endpoints: Endpoints, deployment: str, cause: str, parameters: Mapping[str, Any]) -> Attempt:
    """Start the next run for a cause, unless one is under way or a person cancelled the last one.

    The number of the run is part of its idempotency key, so two simultaneous requests start one run.
    Raises PrefectError when Prefect does not answer.
    """
    for number in range(1, MOST + 1):
        key = f"{cause}, run {number}"
        state = flow_runs.state_of(flow_runs.find_run_by_key(endpoints, key))
        if not state:
            started = deployments.start_run(endpoints, deployment, key, parameters)
            return Attempt.STARTED if started else Attempt.NOT_DEPLOYED
        if state in flow_runs.CANCELLED:
            return Attempt.CANCELLED
        if state not in flow_runs.OVER:
            return Attempt.UNDER_WAY
    return Attempt.EXHAUSTED
