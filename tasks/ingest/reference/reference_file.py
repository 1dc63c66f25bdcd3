"""Ingests a file of items or users in one transaction, so that a partial catalogue is never visible."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
from sqlalchemy import Connection, select

from expectations.batches import USER_RULES, bounds, item_rules, limited
from infra import locks
from infra.database.engine import database_now
from infra.database.schema.schema import suppressions
from infra.installation import Installation
from models import columns
from models.features.segments import trait_pooling
from models.ingest.tabular.table_mapping import ItemsMapping, Mapping
from models.ingest.tabular.transform import Cleaned
from tasks.ingest import ledger
from tasks.ingest.events.ingest_events import ledger_entry, refuse
from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.reference.read_reference import ReferenceRows, read_reference, reference_profile, triage_reference
from tasks.ingest.rows import apply, statements
from tasks.ingest.rows.quarantine import (
    close_batches,
    mark_resolved,
    quarantined_lines,
    quarantined_subjects,
    store_quarantined,
)
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.row_triage import TriagedRows
from tasks.quality.chunk_profile import with_counts
from tasks.quality.suites import BatchExpectations, reading_notes, refusal, validate_batch
from tasks.sources.mapping_files import part_of


@dataclass(frozen=True)
class ReferenceFile:
    """One file of items or users that is being ingested."""

    installation: Installation
    mapping: Mapping
    dataset: Literal["items", "users"]
    batch: ledger.Batch
    key: str
    """The column with the key of a row; of several rows with one key the last counts."""
    shape: Callable[[pa.Table], Cleaned]
    store: Callable[[Connection, pa.Table, pa.Table, str], None]
    """Stores rows and dated values of a batch."""


def ingest_reference(reference: ReferenceFile, path: Path) -> LedgerEntry:
    """Ingest a file unless it changes nothing; returns the batch's line in the ledger.

    A table replaces values: if another batch has changed one of them, the same file is ingested again as another batch.
    Raises BatchRefusedError.
    """
    engine = reference.installation.engine
    with locks.locked(engine, reference.batch.batch_id):
        with engine.begin() as connection:
            last, batch = ledger.latest_and_next(connection, reference.batch)
        part, rules = part_of(reference.mapping, reference.dataset), _expectations(reference).rules
        rows = read_reference(path, part, reference.shape, rules)
        if last is not None and _is_unchanged(reference, rows, last):
            return ledger_entry(reference.installation, last.batch_id, unchanged=True)
        with engine.begin() as connection:
            ledger.open_batch(connection, batch)
        _store(replace(reference, batch=batch), rows)
        return ledger_entry(reference.installation, batch.batch_id)


def _is_unchanged(reference: ReferenceFile, read: ReferenceRows, last: ledger.Batch) -> bool:
    """Return whether the table changes no value; its statements then count as of now.

    Otherwise nothing is stored, because another batch will store it.
    """
    with reference.installation.engine.begin() as connection, connection.begin_nested() as attempt:
        apply.lock_entities(connection)
        before = apply.digest(connection, reference.dataset)
        rows = _triage(connection, reference, read.rows).accepted
        statements.begin(connection, last.batch_id)
        reference.store(connection, rows, read.stated, last.batch_id)
        same = apply.digest(connection, reference.dataset) == before
        if same:
            statements.merge_repeated(connection, last.batch_id)
        else:
            attempt.rollback()
    return same


def _triage(connection: Connection, reference: ReferenceFile, rows: pa.Table) -> TriagedRows:
    suppressed = pa.array(connection.execute(select(suppressions.c.user_key)).scalars().all(), pa.string())
    part = part_of(reference.mapping, reference.dataset)
    choices = part.choices if isinstance(part, ItemsMapping) else {}
    return triage_reference(rows, _expectations(reference).rules, suppressed, reference.key, choices)


def _expectations(reference: ReferenceFile) -> BatchExpectations:
    dataset, own = reference.dataset, reference.mapping.limits
    part = part_of(reference.mapping, dataset)
    rules = item_rules(part.required) if isinstance(part, ItemsMapping) else USER_RULES
    return BatchExpectations(limited(dataset, rules, own), bounds(dataset, own))


def _store(reference: ReferenceFile, read: ReferenceRows) -> None:
    """Validate the rows and store them, or refuse the batch."""
    batch, dataset, expected = reference.batch, reference.dataset, _expectations(reference)
    with reference.installation.engine.begin() as connection:
        triaged = _triage(connection, reference, read.rows)
        lines = quarantined_lines(read.misfits, read.numbering, reference.installation.key)
        rows = row_triage.with_row_numbers(triaged.quarantined, read.numbering)
        bad = [rows, *([lines] if lines is not None else [])]
        counts = read.counted(triaged.counts)
        profile = reference_profile(read, counts, bad)
        figures = dict.fromkeys(expected.bounds, 0.0) | row_triage.figures([profile], database_now(connection))
        findings = validate_batch(batch.batch_id, dataset, expected, read.sample, figures)
        reason = refusal(findings, profile["rules"], read.unread)
        if not reason:
            apply.lock_entities(connection)
            statements.begin(connection, batch.batch_id)
            reference.store(connection, triaged.accepted, read.stated, batch.batch_id)
            stored = store_quarantined(connection, batch.source, {(batch.batch_id, 0): bad})
            new = stored.get(batch.batch_id, 0)
            repeated = counts["quarantined"] - new
            counts |= {"quarantined": new, "duplicate": counts["duplicate"] + repeated}
            ledger.record_chunks(connection, ledger.ChunkEntry(batch.batch_id, 0, counts, with_counts(profile, counts)))
            traits = _trait_notes(triaged.accepted) if dataset == "users" else None
            notes = " ".join(filter(None, [reading_notes([profile], read.unread), traits])) or None
            subjects = quarantined_subjects(connection, batch)
            mark_resolved(connection, [batch], [triaged.accepted[reference.key]], subjects)
            close_batches(connection, [batch], [(findings, notes)])
            return
    refuse(reference.installation, batch, findings, reason)


def _trait_notes(users: pa.Table) -> str | None:
    """Return the remarks on traits with too many values for groups."""
    traits = users[columns.ATTRIBUTES].combine_chunks()
    values = dict(zip(traits.type.names, traits.flatten(), strict=True))
    groups = trait_pooling.fit(pa.table(values)) if values else {}
    return " ".join(trait_pooling.sentences({name: rule for name, rule in groups.items() if rule.values > 1})) or None
