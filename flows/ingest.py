"""Takes a source in."""

from typing import Any

from prefect import flow

from tasks.ingest_events import ingest_events
from tasks.ingest_reference import ingest_items, ingest_users
from tasks.ingest_segment import ingest_segment
from tasks.report import show
from tasks.sources.mappings import is_segment
from tasks.sources.paths import line_files


@flow
def ingest(
    mapping: str = "complete_journey", location: str | None = None, paths: list[str] | None = None
) -> list[dict[str, Any]]:
    """Take catalogue, users and events in: checked, pseudonymous, every row accounted for in the ledger.

    Args:
        mapping: Name of a mapping that comes with Tailorbird, or the path of a .toml file.
        location: Folder of the tables, where it differs from what the mapping says.
        paths: Files, folders or patterns of a Segment export.
    """
    if is_segment(mapping):
        files = line_files([*(paths or []), *([location] if location else [])])
        ledger = [ingest_segment(mapping, file) for file in files]
    else:
        steps = (ingest_items, ingest_users, ingest_events)
        ledger = [step(mapping, location) for step in steps]
    show("ledger", "What became of every row", ledger)
    return ledger
