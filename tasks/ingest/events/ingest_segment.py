"""Takes a file of Segment's calls in: events, and what they say about the catalogue, users and devices."""

from typing import Any

from prefect import task

from infra.installation import current
from tasks.ingest.batch_identity import batch_of, request_of, segment_mapping
from tasks.ingest.events.event_batch import ingest_batch
from tasks.ingest.events.segment_parts import parts_of
from tasks.orchestration import run_names
from tasks.orchestration.defects import without_values
from tasks.sources import locations


@task(
    task_run_name=run_names.of_file("ingest Segment calls"),
    description="One file of a Segment export: every line accounted for.",
)
@without_values
def ingest_segment(mapping: str, file: str, overrides: dict[str, str] | None = None) -> dict[str, Any]:
    """Ingest a file of Segment's calls; returns the batch's line in the ledger.

    The same file again changes nothing; after a crash it goes on where it stopped. Raises BatchRefusedError.
    """
    installation, known = current(), segment_mapping(mapping, overrides)
    with locations.fetched(file, installation.settings.var) as path:
        batch = batch_of(known, "events", path, file, request_of(mapping, overrides))
        size = path.stat().st_size
        return ingest_batch(installation, known, batch, lambda intake: parts_of(intake, known, path, file), size)
