"""Lists one step back."""

from typing import Any

from prefect import flow

from tasks.orchestration.form_fields import Words
from tasks.orchestration.run_artifacts import show
from tasks.orchestration.table_columns import facts
from tasks.scoring.roll_back_lists import roll_back_lists


@flow(flow_run_name="roll back lists of {placement}")
def rollback_lists(placement: Words, actor: Words, reason: Words) -> dict[str, Any]:
    """Show the lists before the live ones again, where they are still kept; the champion stays.

    Args:
        placement: Where the lists are shown, such as home.
        actor: Who goes back. It is recorded.
        reason: Why. It is recorded.
    """
    result = roll_back_lists(placement, actor, reason)
    show("rollback-lists", f"{placement} shows batch {result['batch_id']} again", facts(result))
    return result
