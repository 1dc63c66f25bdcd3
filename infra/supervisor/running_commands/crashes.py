"""Marks the runs of killed commands as crashed: Prefect would show them as running forever."""

from pathlib import Path
from typing import Final

from infra.prefect_api import flow_runs
from infra.services.endpoints import Endpoints
from infra.supervisor.running_commands import records

_WHY: Final = "The process of `{}` is gone: it was killed, or its machine stopped. The same command goes on from there."


def mark_crashed(endpoints: Endpoints, var: Path) -> list[str]:
    """Mark the runs of killed commands, and return a line for each. Delete the records of these commands.

    Raises PrefectError when Prefect does not answer; the records stay for the next time.
    """
    lines = []
    for command in records.killed(var):
        run = flow_runs.find_run(endpoints, command.flow_run) if command.flow_run else None
        if run is not None and flow_runs.state_of(run) not in flow_runs.OVER:
            flow_runs.crash_with_children(endpoints, command.flow_run, _WHY.format(command.words))
            lines.append(f"The run {run.name!r} is marked as crashed: its command was killed")
        command.forget()
    return lines
