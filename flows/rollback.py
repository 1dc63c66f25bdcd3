"""Rolls back to the previous champion."""

from prefect import flow

from tasks.orchestration.form_fields import Words
from tasks.orchestration.run_artifacts import facts, show
from tasks.scoring.roll_back import ModelRollback, roll_back_model


@flow(flow_run_name="roll back the model")
def rollback(actor: Words, reason: Words) -> ModelRollback:
    """Make the previous champion serve again, with its last lists if they still exist.

    Args:
        actor: The person who rolls back; it is recorded.
        reason: The reason; it is recorded.
    """
    result = roll_back_model(actor, reason)
    show("rollback", f"Version {result['from']} gave way to version {result['to']}", facts(result))
    return result
