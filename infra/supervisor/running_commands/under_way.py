"""Finds work that is under way or planned: the commands of this `var`, and the runs of the worker."""

import os
from contextlib import suppress
from typing import Final

from infra.configuration.settings import Settings
from infra.prefect_api import flow_runs
from infra.services.endpoints import Endpoints, endpoints
from infra.supervisor.running_commands import records
from models.errors import TailorbirdError
from models.monitoring.guidance.next_step import Work

_OWN_RUN: Final = "PREFECT__FLOW_RUN_ID"
"""The variable in which Prefect passes the id of its run to a process of the worker."""


def under_way(settings: Settings) -> list[Work]:
    """Return the work under way except this process; only commands if Prefect does not answer."""
    commands = records.running(settings.var)
    works = [Work(command.flow, str(command)) for command in commands]
    known = {command.flow_run for command in commands} | {os.environ.get(_OWN_RUN, "")}
    with suppress(OSError, TailorbirdError):
        now = endpoints(settings)
        if now.prefect_login:
            works += _of_the_worker(now, known)
    return works


def next_run(deployment: str, settings: Settings) -> str:
    """Return the time of the next planned run of a deployment; empty without one, or if Prefect does not answer."""
    with suppress(OSError, TailorbirdError):
        planned = flow_runs.next_planned(endpoints(settings), deployment)
        if planned is not None:
            return f"{planned:%A %Y-%m-%d %H:%M} UTC"
    return ""


def _of_the_worker(now: Endpoints, known: set[str]) -> list[Work]:
    runs = [run for run in flow_runs.under_way(now) if run.work_pool and run.id not in known]
    return [Work(flow_runs.flow_name(now, run), flow_runs.describe(run)) for run in runs]
