"""One step back."""

from typing import Any

from prefect import flow

from tasks.orchestration.form_fields import Words
from tasks.report import show
from tasks.roll_back_model import roll_back_model


@flow
def rollback(actor: Words, reason: Words) -> dict[str, Any]:
    """Let the champion before answer again, with the last lists it made where they are still kept.

    Args:
        actor: Who goes back. It is recorded.
        reason: Why. It is recorded.
    """
    result = roll_back_model(actor, reason)
    show("rollback", f"Version {result['from']} gave way to version {result['to']}", [result])
    return result
