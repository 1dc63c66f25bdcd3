"""Shows the lists before again, without those who have left since."""

from typing import Any

from prefect import task

from infra.database.schema.schema import recommendation_batches
from infra.installation import current
from infra.locks.advisory_locks import locked
from models.errors import TailorbirdError
from models.primitives.recorded_reasons import reason_fault
from tasks.scoring import batch_state


@task(description="Show a placement's lists before the live ones again.")
def roll_back_lists(placement: str, actor: str, reason: str) -> dict[str, Any]:
    """Point the placement at the kept batch before the live one; consent and suppressions are applied to it first.

    Raises TailorbirdError when nothing is kept to go back to, and LockHeldError while lists are being made.
    """
    engine = current().engine
    if fault := reason_fault(reason, "the lists are taken back", "odd prices"):
        raise TailorbirdError(fault)
    with locked(engine, batch_state.lock(placement)), engine.begin() as connection:
        live = batch_state.live_batch(connection, placement)
        if live is None:
            shown = ", ".join(batch_state.shown(engine)) or "none"
            raise TailorbirdError(f"Nothing is published in {placement!r}; placements with lists: {shown}.")
        before = batch_state.batch_row(connection, live)
        shown_at = before["published_at"]
        earlier = batch_state.sound(connection, placement, recommendation_batches.c.published_at < shown_at)
        if not earlier:
            raise TailorbirdError(
                f"No batch before {live} is kept for {placement!r}: `tailorbird score` makes new lists."
            )
        batch_state.go_back(connection, placement, earlier[0], f"{actor}: {reason}")
        row = batch_state.batch_row(connection, earlier[0])
    told = "The next `tailorbird score` publishes the champion's lists again: correct what was wrong with them first."
    names = ("placement", "batch_id", "model_version", "users")
    return {"from": live} | {name: row[name] for name in names} | {"users_before": before["users"], "next": told}
