"""Slots of a schedule that passed while no worker was there, or while an earlier run went on."""

from prefect.context import FlowRunContext

from infra.database.clock import database_now
from infra.installation import current
from infra.prefect_api import schedules


def drop_missed_slots() -> None:
    """Cancel the other runs of this run's schedule that should have begun by now: this run sees all there is to see.

    Prefect would run every one of them, one after the other. Runs that a person started are left alone, as they may
    have other parameters; and in a run that no schedule started, nothing happens.
    """
    schedule, context = schedule_of_run(), FlowRunContext.get()
    if schedule and context and context.flow_run:
        with current().engine.connect() as connection:
            now = database_now(connection)
        schedules.cancel_missed_runs(str(context.flow_run.deployment_id), schedule, now)


def schedule_of_run() -> str | None:
    """The id of the schedule that started this run; None when something else did."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.created_by is None or run.created_by.type != "SCHEDULE":
        return None
    return str(run.created_by.id)
