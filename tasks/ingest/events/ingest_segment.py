"""Ingests a file of Segment calls: events, and updates of the catalogue, users and devices."""

from prefect import task

from infra.installation import current
from tasks.ingest.batch_identity import batch_of, request_of, segment_mapping
from tasks.ingest.events.event_batch import ingest_batch
from tasks.ingest.events.segment_chunks import read_chunks
from tasks.ingest.ledger_records import LedgerEntry
from tasks.orchestration import run_names
from tasks.orchestration.defects import without_values
from tasks.sources import locations


@task(
    task_run_name=run_names.of_file("ingest Segment calls"),
    description="Ingest one file of a Segment export: every line is accounted for.",
)
@without_values
def ingest_segment(mapping: str, file: str, overrides: dict[str, str] | None = None) -> LedgerEntry:
    """Ingest a file of Segment's calls; returns the batch's line in the ledger.

    Ingesting the same file again changes nothing, and after a crash the ingest continues where it stopped. Raises
    BatchRefusedError.
    """
    installation, calls = current(), segment_mapping(mapping, overrides)
    with locations.fetched(file, installation.settings.var) as path:
        batch = batch_of(calls, "events", path, file, request_of(mapping, overrides))
        size = path.stat().st_size
        return ingest_batch(installation, calls, batch, lambda context: read_chunks(context, calls, path, file), size)
