"""Lists one step back."""

from typing import Any

from prefect import flow

from tasks.report import show
from tasks.roll_back_lists import roll_back_lists


@flow
def rollback_lists(placement: str, actor: str, reason: str) -> dict[str, Any]:
    """Show the lists before the live ones again, where they are still kept; the champion stays.

    Args:
        placement: Where lists are shown.
        actor: Who goes back; it is written down.
        reason: Why; it is written down.
    """
    result = roll_back_lists(placement, actor, reason)
    show("rollback-lists", f"{placement} shows batch {result['batch_id']} again", [result])
    return result
