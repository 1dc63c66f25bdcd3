"""Marks the runs of killed commands in Prefect."""

from infra.installation import Installation
from infra.supervisor.running_commands.under_way import mark_crashed


def mark_killed_commands(installation: Installation) -> str | None:
    """Mark the runs of killed commands as crashed; return a line for each, or None."""
    return "\n".join(mark_crashed(installation.endpoints, installation.settings.var)) or None
