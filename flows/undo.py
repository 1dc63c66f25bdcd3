"""Undoes what was ingested by mistake."""

from typing import Any

from prefect import flow

from tasks.ingest.undo.undo_batches import undo_batches
from tasks.orchestration import run_names
from tasks.orchestration.form_fields import Words
from tasks.orchestration.run_artifacts import show


@flow(flow_run_name=run_names.flow_run_name(run_names.undo))
def undo(actor: Words, reason: Words, batches: list[str] | None = None, source: str | None = None) -> dict[str, Any]:
    """Remove exactly what batches brought. What other batches brought stays; so does a user's refusal.

    Killed at any moment, the same run goes on. The same files can be ingested again afterwards.

    Args:
        actor: Who undoes it. It is recorded.
        reason: Why. It is recorded.
        batches: The batches, as the ledger names them.
        source: All batches of this source, in place of single ones.
    """
    result = undo_batches(batches or [], source, actor, reason)
    show("undo", "What was removed", result["batches"])
    return result
