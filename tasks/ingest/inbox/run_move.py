"""Moves all messages of the inbox that wait now, as a task."""

from prefect import task

from infra.installation import current
from tasks.ingest import ledger
from tasks.ingest.inbox.claims import Dataset
from tasks.ingest.inbox.move_inbox import NOW, move_inbox
from tasks.ingest.ledger_records import LedgerEntry
from tasks.orchestration.defects import without_values


@task(description="Move the waiting messages of the inbox: each is stored, quarantined or counted, once.")
@without_values
def move_waiting() -> list[LedgerEntry]:
    """Move all messages that wait; returns the lines of their batches in the ledger."""
    installation = current()
    datasets: tuple[Dataset, ...] = ("updates", "events", "calls")
    batches = [batch for dataset in datasets for batch in move_inbox(installation, dataset, NOW, wait=True)]
    with installation.engine.connect() as connection:
        lines = ledger.entries(connection, batches)
    return [lines[name] for name in batches if name in lines]
