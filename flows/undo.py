"""Undoes batches that were ingested by mistake."""

from prefect import flow

from tasks.ingest.undo.undo_batches import UndoResult, undo_batches
from tasks.orchestration import run_names
from tasks.orchestration.form_fields import Words
from tasks.orchestration.run_artifacts import show


@flow(flow_run_name=run_names.flow_run_name(run_names.undo))
def undo(actor: Words, reason: Words, batches: list[str] | None = None, source: str | None = None) -> UndoResult:
    """Remove exactly what batches brought. Data of other batches stays, and so does a user's refusal of consent.

    After a kill, the same run continues. The same files can be ingested again afterwards.

    Args:
        actor: The person who undoes them; it is recorded.
        reason: The reason; it is recorded.
        batches: The ids of the batches in the ledger.
        source: All batches of this source, instead of single ones.
    """
    result = undo_batches(batches or [], source, actor, reason)
    show("undo", "What was removed", result["batches"])
    return result
