"""One step back."""

from typing import Any

from prefect import flow

from tasks.orchestration.form_fields import Words
from tasks.orchestration.run_artifacts import show
from tasks.orchestration.table_columns import facts
from tasks.scoring.roll_back_model import roll_back_model


@flow(flow_run_name="roll back the model")
def rollback(actor: Words, reason: Words) -> dict[str, Any]:
    """Let the champion before answer again, with the last lists it made where they are still kept.

    Args:
        actor: Who goes back. It is recorded.
        reason: Why. It is recorded.
    """
    result = roll_back_model(actor, reason)
    show("rollback", f"Version {result['from']} gave way to version {result['to']}", facts(result))
    return result
