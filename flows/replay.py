"""Replays quarantined rows."""

from prefect import flow

from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.orchestration.form_fields import Words
from tasks.orchestration.run_artifacts import LEDGER, show


@flow(flow_run_name="replay {batch_id}")
def replay(batch_id: Words, accept_unknown_items: bool = False) -> LedgerEntry:
    """Accept the quarantined events of a batch that pass the rules now. The sums of the ledger still add up.

    Args:
        batch_id: The id of the batch in the ledger.
        accept_unknown_items: Accept events on items that no catalogue names.
    """
    entry = replay_quarantine(batch_id, accept_unknown_items)
    show("ledger", f"Batch {batch_id}", [entry], LEDGER)
    return entry
