"""Gives quarantined rows another try."""

from typing import Any

from prefect import flow

from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.orchestration.form_fields import Words
from tasks.orchestration.run_artifacts import show
from tasks.orchestration.table_columns import LEDGER


@flow(flow_run_name="replay {batch_id}")
def replay(batch_id: Words, accept_unknown_items: bool = False) -> dict[str, Any]:
    """Let a batch's quarantined events through that keep the rules now. The ledger adds up as before.

    Args:
        batch_id: The batch, as the ledger names it.
        accept_unknown_items: Take events on items that no catalogue names.
    """
    entry = replay_quarantine(batch_id, accept_unknown_items)
    show("ledger", f"Batch {batch_id}", [entry], LEDGER)
    return entry
