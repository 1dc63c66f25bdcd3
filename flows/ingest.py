"""Takes a source in."""

from typing import Any

from prefect import flow

from tasks.ingest_events import ingest_events
from tasks.ingest_reference import ingest_items, ingest_users
from tasks.report import show


@flow
def ingest(mapping: str = "complete_journey", location: str | None = None) -> list[dict[str, Any]]:
    """Take catalogue, users and events in: checked, pseudonymous, every row accounted for in the ledger.

    Args:
        mapping: Name of a mapping that comes with Tailorbird, or the path of a .toml file.
        location: Folder of the files, where it differs from what the mapping says.
    """
    ledger = [
        ingest_items(mapping, location),
        ingest_users(mapping, location),
        ingest_events(mapping, location),
    ]
    show("ledger", "What became of every row", ledger)
    return ledger
