"""Moves the inbox of events."""

from prefect import flow

from tasks.ingest.inbox.move_inbox import move_waiting
from tasks.ingest.ledger import LedgerEntry
from tasks.orchestration.run_artifacts import LEDGER, show


@flow(flow_run_name="move the inbox")
def move_inbox() -> list[LedgerEntry]:
    """Move all messages of the inbox into the lake and the catalogue now. The reconciler does it all the time.

    Each message counts once, also if the reconciler moves messages meanwhile or a run is stopped.
    """
    lines = move_waiting()
    show("ledger", "Batches of the inbox", lines, LEDGER)
    return lines
