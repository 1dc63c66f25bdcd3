"""Rolls back the lists of a placement."""

from prefect import flow

from tasks.orchestration.form_fields import Words
from tasks.orchestration.run_artifacts import facts, show
from tasks.scoring.roll_back import ListRollback, roll_back_lists


@flow(flow_run_name="roll back lists of {placement}")
def rollback_lists(placement: Words, actor: Words, reason: Words) -> ListRollback:
    """Show the previous lists of a placement again if they still exist; the champion stays.

    Args:
        placement: The placement of the lists, such as home.
        actor: The person who rolls back; it is recorded.
        reason: The reason; it is recorded.
    """
    result = roll_back_lists(placement, actor, reason)
    show("rollback-lists", f"{placement} shows batch {result['batch_id']} again", facts(result))
    return result
