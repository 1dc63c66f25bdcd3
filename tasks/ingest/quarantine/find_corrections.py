"""Finds rows of an ingest that were left out because accepted rows have their ids and other values."""

from dataclasses import asdict

from infra.installation import current
from infra.overview.corrections import corrections
from tasks.ingest import ledger
from tasks.ingest.ledger_records import LedgerEntry
from tasks.orchestration.guards import without_values


@without_values
def find_corrections(lines: list[LedgerEntry]) -> list[LedgerEntry]:
    """Return the lines of an ingest; those with such rows get `correction`."""
    fresh = [line["batch_id"] for line in lines if line["status"] == ledger.COMMITTED and line["quarantined"]]
    with current().engine.connect() as connection:
        correction_of = corrections(connection, fresh)
    return [
        line | LedgerEntry(correction=asdict(correction_of[line["batch_id"]]))
        if line["batch_id"] in correction_of
        else line
        for line in lines
    ]
