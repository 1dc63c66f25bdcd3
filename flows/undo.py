"""Undoes what was ingested by mistake."""

from typing import Any

from prefect import flow

from tasks.ingest.undo import undo_batches
from tasks.report import show


@flow
def undo(actor: str, reason: str, batches: list[str] | None = None, source: str | None = None) -> dict[str, Any]:
    """Remove exactly what batches brought. What other batches brought stays; so does a user's refusal.

    Killed at any moment, the same run goes on. The same files can be ingested again afterwards.

    Args:
        actor: Who undoes it; it is written down.
        reason: Why; it is written down.
        batches: The batches, as the ledger names them.
        source: All batches of this source, in place of single ones.
    """
    result = undo_batches(batches or [], source, actor, reason)
    show("undo", "What was removed", result["batches"])
    return result
