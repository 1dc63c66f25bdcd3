"""Drops slots of a schedule that passed without a worker or during an earlier run."""

from prefect.context import FlowRunContext

from infra.database.engine import database_now
from infra.installation import current
from infra.prefect_api import schedules


def drop_missed_slots() -> None:
    """Cancel the other late runs of this run's schedule, because this run processes all data so far.

    Prefect would start each of them, one after another. Runs that a person started stay, because they may have other
    parameters. A run that no schedule started cancels nothing.
    """
    schedule, context = schedule_of_run(), FlowRunContext.get()
    if schedule and context and context.flow_run:
        with current().engine.connect() as connection:
            now = database_now(connection)
        schedules.cancel_missed_runs(str(context.flow_run.deployment_id), schedule, now)


def schedule_of_run() -> str | None:
    """Return the id of the schedule that started this run, or None if none did."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.created_by is None or run.created_by.type != "SCHEDULE":
        return None
    return str(run.created_by.id)
