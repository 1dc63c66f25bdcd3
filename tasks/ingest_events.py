"""Takes the events of a mapping's table in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from prefect import task

from infra.installation import current
from models import columns
from models.shapes import tabular
from models.shapes.mapping import Mapping
from tasks import sift
from tasks.batches import batch_of, pseudonymised
from tasks.intake import Intake, Part, Policy, ingest_batch
from tasks.sources import files
from tasks.sources.mappings import read_mapping


def part_of(intake: Intake, mapping: Mapping, rows: pa.Table, first: int) -> Part:
    """One chunk of a table as a part; `first` is the number of its first row in the file."""
    events, names = pseudonymised(tabular.events(rows, mapping.events), intake.here.key)
    if mapping.events.event_id is None:
        events = tabular.identified(events)
    consent = None
    if columns.CONSENT in events.column_names:
        consent = events[columns.CONSENT]
        events = events.drop_columns([columns.CONSENT])
    numbers = pa.array(range(first, first + len(rows)), pa.int64())
    return Part(sift.fingerprint(events).append_column(sift.ROW, numbers), names, consent)


def parts_of(intake: Intake, mapping: Mapping, path: Path) -> Iterator[tuple[Part, int]]:
    """All chunks of a file, each with its number of rows."""
    first = 0
    for rows in files.chunks(path, tabular.needed(mapping.events), csv=files.csv_of(mapping.events)):
        yield part_of(intake, mapping, rows, first), len(rows)
        first += len(rows)


def policy_of(mapping: Mapping) -> Policy:
    """What a mapping decides for its events."""
    consent = mapping.consent if mapping.consent in {"given", "absent"} else "opt-in"
    return Policy(mapping.name, consent, mapping.consent_note)


@task(description="Events of one file: into the lake, into quarantine, or counted; every row once.")
def ingest_events(mapping_name: str, location: str | None = None) -> dict[str, Any]:
    """Ingest the events that a mapping names; returns the batch's line in the ledger.

    The same file again changes nothing; after a crash it goes on where it stopped. Raises BatchRefusedError when the
    batch as a whole is not what its suite expects: then nothing of it stays.
    """
    here, mapping = current(), read_mapping(mapping_name, location)
    path, batch = batch_of(mapping, mapping.events, "events")
    rows = files.row_count(path, files.csv_of(mapping.events), tabular.kinds(mapping.events))
    return ingest_batch(here, policy_of(mapping), batch, lambda intake: parts_of(intake, mapping, path), rows)
