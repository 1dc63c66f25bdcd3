"""Ingests the events of a file: of a table, or of Segment calls with their updates of items, users and devices."""

from pathlib import Path

from prefect import task

from infra.installation import Installation, current
from models.ingest.tabular.table_mapping import Mapping
from tasks.ingest import ledger
from tasks.ingest.batch_identity import batch_of, request_of, segment_mapping, table_mapping
from tasks.ingest.events.event_batch import ingest_batch, open_events
from tasks.ingest.events.segment_chunks import read_chunks
from tasks.ingest.ledger_records import LedgerEntry
from tasks.orchestration import run_names
from tasks.orchestration.guards import without_values
from tasks.sources import locations


@task(
    task_run_name=run_names.of_file("ingest events"),
    description="Ingest events of one file: each row is stored, quarantined or counted, once.",
)
@without_values
def ingest_events(mapping: str, file: str, overrides: dict[str, str] | None = None) -> LedgerEntry:
    """Ingest one file of a mapping's events; returns the batch's line in the ledger.

    Ingesting the same file again changes nothing, and after a crash the ingest continues where it stopped. Raises
    ContractViolationError if the file lacks a column. Raises BatchRefusedError if the batch as a whole fails its suite:
    then only its line in the ledger is kept.
    """
    installation, tables = current(), table_mapping(mapping, overrides)
    with locations.fetched(file, installation.settings.var) as path:
        batch = batch_of(tables, "events", path, file, request_of(mapping, overrides))
        return store_events(installation, tables, batch, path)


def store_events(installation: Installation, tables: Mapping, batch: ledger.Batch, path: Path) -> LedgerEntry:
    """Ingest a table of events as a batch, as `ingest_events` does."""
    file = open_events(installation, tables, batch, path)
    return ingest_batch(installation, tables, batch, file.read_chunks, file.rows)


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
