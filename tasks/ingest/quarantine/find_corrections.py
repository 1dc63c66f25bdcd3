"""Adds to the lines of an ingest which rows did not come in because accepted rows have their ids and other values."""

from dataclasses import asdict
from typing import Any

from infra.installation import current
from infra.overview.corrections import corrections
from tasks.ingest import ledger
from tasks.orchestration.defects import without_values


@without_values
def find_corrections(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines; those with such rows get `correction`."""
    fresh = [line["batch_id"] for line in lines if line["status"] == ledger.COMMITTED and line["quarantined"]]
    with current().engine.connect() as connection:
        found = corrections(connection, fresh)
    return [
        line | ({"correction": asdict(found[line["batch_id"]])} if line["batch_id"] in found else {}) for line in lines
    ]
