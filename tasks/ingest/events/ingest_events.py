"""Takes the events of a table in."""

from typing import Any

from prefect import task

from expectations.limits import highest_quarantined
from infra.installation import current
from models.errors import TailorbirdError
from tasks.ingest.batch_identity import batch_of, part_of, request_of, table_mapping
from tasks.ingest.events.event_batch import ingest_batch, refuse_file
from tasks.ingest.events.tabular_parts import checked, parts_of
from tasks.orchestration import run_names
from tasks.orchestration.defects import without_values
from tasks.sources import locations


@task(
    task_run_name=run_names.of_file("ingest events"),
    description="Events of one file: into the lake, into quarantine, or counted; every row once.",
)
@without_values
def ingest_events(mapping: str, file: str, overrides: dict[str, str] | None = None) -> dict[str, Any]:
    """Ingest one file of a mapping's events; returns the batch's line in the ledger.

    The same file again changes nothing; after a crash it goes on where it stopped. Raises ContractBrokenError when the
    file lacks what is needed, and BatchRefusedError when the batch as a whole is not what its suite expects: then
    nothing of it stays, but that the ledger says so.
    """
    installation, known = current(), table_mapping(mapping, overrides)
    part, tolerated = part_of(known, "events"), highest_quarantined("events", known.limits)
    with locations.fetched(file, installation.settings.var) as path:
        batch = batch_of(known, "events", path, file, request_of(mapping, overrides))
        try:
            rows = checked(path, file, part, tolerated)
        except TailorbirdError as error:
            refuse_file(installation, batch, str(error))
            raise
        return ingest_batch(installation, known, batch, lambda intake: parts_of(intake, known, path), rows)
