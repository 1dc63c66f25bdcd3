"""Shows the previous lists again, without the lists of users who have left since."""

from typing import Final, TypedDict

from prefect import task

from infra.database.schema.schema import recommendation_batches
from infra.installation import current
from infra.locks import locked
from models.errors import TailorbirdError
from models.primitives.recorded_reasons import reason_fault
from tasks.scoring import batch_state

ListRollback = TypedDict(
    "ListRollback",
    {
        "from": int,
        "placement": str,
        "batch_id": int,
        "model_version": int,
        "users": int,
        "users_before": int,
        "next": str,
    },
)
"""The batch that was live, the batch that is live now, and the next step."""


_NEXT: Final = (
    "The next `tailorbird score` publishes the champion's lists again: correct what was wrong with them first."
)


@task(description="Show a placement's previous lists again.")
def roll_back_lists(placement: str, actor: str, reason: str) -> ListRollback:
    """Point the placement at the batch before the live one, after applying consent and suppressions to it.

    Raises TailorbirdError if no earlier batch is retained, and LockHeldError while lists are being built.
    """
    engine = current().engine
    if fault := reason_fault(reason, "the lists are taken back", "odd prices"):
        raise TailorbirdError(fault)
    with locked(engine, batch_state.lock_name(placement)), engine.begin() as connection:
        live = batch_state.live_batch(connection, placement)
        if live is None:
            shown = ", ".join(batch_state.placements_with_lists(engine)) or "none"
            raise TailorbirdError(f"Nothing is published in {placement!r}; placements with lists: {shown}.")
        before = batch_state.batch_row(connection, live)
        shown_at = before["published_at"]
        earlier = batch_state.restorable(connection, placement, recommendation_batches.c.published_at < shown_at)
        if not earlier:
            raise TailorbirdError(
                f"No batch before {live} is kept for {placement!r}: `tailorbird score` makes new lists."
            )
        batch_state.restore_batch(connection, placement, earlier[0], f"{actor}: {reason}")
        row = batch_state.batch_row(connection, earlier[0])
    return {
        "from": live,
        "placement": row["placement"],
        "batch_id": row["batch_id"],
        "model_version": row["model_version"],
        "users": row["users"],
        "users_before": before["users"],
        "next": _NEXT,
    }
