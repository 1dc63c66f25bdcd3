"""Finds work that is under way or planned, by commands of this `var` or the worker, and what killed commands left."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from infra.configuration.settings import Settings
from infra.prefect_api import flow_runs
from infra.services.endpoints import Endpoints, endpoints
from infra.supervisor.running_commands import records
from models.errors import TailorbirdError
from models.monitoring.guidance.next_step import Work

_OWN_RUN: Final = "PREFECT__FLOW_RUN_ID"
"""The variable in which Prefect passes the id of its run to a process of the worker."""
_WHY: Final = "The process of `{}` is gone: it was killed, or its machine stopped. The same command goes on from there."


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


def mark_crashed(now: Endpoints, var: Path) -> list[str]:
    """Mark the runs of killed commands as crashed, and return a line for each. Delete the records of these commands.

    Prefect would show the runs as running forever. Raises PrefectError when Prefect does not answer; the records stay
    for the next time.
    """
    lines = []
    for command in records.killed(var):
        run = flow_runs.find_run(now, command.flow_run) if command.flow_run else None
        if run is not None and flow_runs.state_of(run) not in flow_runs.OVER:
            flow_runs.crash_with_children(now, command.flow_run, _WHY.format(command.words))
            lines.append(f"The run {run.name!r} is marked as crashed: its command was killed")
        command.forget()
    return lines


def _of_the_worker(now: Endpoints, known: set[str]) -> list[Work]:
    runs = [run for run in flow_runs.under_way(now) if run.work_pool and run.id not in known]
    return [Work(flow_runs.flow_name(now, run), flow_runs.describe(run)) for run in runs]
