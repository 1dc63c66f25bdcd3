"""What items and users have in common: a file is one transaction, so that half a catalogue is never seen."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from sqlalchemy import Connection, select

from expectations import items, limits, users
from infra.database.clock import database_now
from infra.database.schema.schema import suppressions
from infra.installation import Installation
from infra.locks import advisory_locks
from models import columns
from models.features.segments import trait_pooling
from models.ingest.normalisation import Cleaned
from models.ingest.tabular.config import ItemsMapping, Mapping
from tasks.ingest import ledger
from tasks.ingest.batch_identity import part_of
from tasks.ingest.entity_updates import apply
from tasks.ingest.events.event_batch import refuse, told
from tasks.ingest.quarantine.resolved_rows import close_resolved, mark_resolved, waiting_subjects
from tasks.ingest.quarantine.store_rows import store_waiting
from tasks.ingest.quarantine.unreadable_lines import waiting_lines
from tasks.ingest.reference.read_reference import Read, read_reference
from tasks.ingest.reference.row_triage import triage_reference
from tasks.ingest.undo import statements
from tasks.ingest.validation import batch_profile, row_triage
from tasks.ingest.validation.row_triage import TriagedRows
from tasks.quality.suites import BatchExpectations, judge, reading_notes, refusal


@dataclass(frozen=True)
class Reference:
    """One file of items or of users, on its way into Postgres."""

    installation: Installation
    mapping: Mapping
    dataset: Literal["items", "users"]
    batch: ledger.Batch
    key: str
    """The column that names a row; of several rows with one name the last counts."""
    shape: Callable[[pa.Table], Cleaned]
    store: Callable[[Connection, pa.Table, pa.Table, str], None]
    """Stores rows, and what their file states since when, of the batch of that name."""


def ingest_reference(reference: Reference, path: Path) -> dict[str, Any]:
    """Bring a file in, unless all that it states holds already; returns the batch's line in the ledger.

    A table replaces: after anything else has changed one of its values it is taken again, as another batch. Raises
    BatchRefusedError.
    """
    engine = reference.installation.engine
    with advisory_locks.locked(engine, reference.batch.batch_id):
        with engine.begin() as connection:
            last, batch = ledger.turns(connection, reference.batch)
        part, rules = part_of(reference.mapping, reference.dataset), _promises(reference).rules
        found = read_reference(path, part, reference.shape, rules)
        if last is not None and _renewed(reference, found, last):
            return told(reference.installation, last.batch_id, unchanged=True)
        with engine.begin() as connection:
            ledger.open_batch(connection, batch)
        _take(replace(reference, batch=batch), found)
        return told(reference.installation, batch.batch_id)


def _renewed(reference: Reference, read: Read, last: ledger.Batch) -> bool:
    """Return whether the table changes no value; its statements then count as of now, so that later ones replace them.

    Otherwise nothing is stored: it is for another batch to do.
    """
    with reference.installation.engine.begin() as connection, connection.begin_nested() as attempt:
        apply.lock_entities(connection)
        before = apply.digest(connection, reference.dataset)
        rows = _sifted(connection, reference, read.rows).accepted
        statements.begin(connection, last.batch_id)
        reference.store(connection, rows, read.stated, last.batch_id)
        same = apply.digest(connection, reference.dataset) == before
        if same:
            statements.fold(connection, last.batch_id)
        else:
            attempt.rollback()
    return same


def _sifted(connection: Connection, reference: Reference, rows: pa.Table) -> TriagedRows:
    gone = pa.array(connection.execute(select(suppressions.c.user_key)).scalars().all(), pa.string())
    part = part_of(reference.mapping, reference.dataset)
    choices = part.choices if isinstance(part, ItemsMapping) else {}
    return triage_reference(rows, _promises(reference).rules, gone, reference.key, choices)


def _promises(reference: Reference) -> BatchExpectations:
    dataset, asked = reference.dataset, reference.mapping.limits
    part = part_of(reference.mapping, dataset)
    rules = items.rules(part.required) if isinstance(part, ItemsMapping) else users.RULES
    return BatchExpectations(limits.limited(dataset, rules, asked), limits.bounds(dataset, asked))


def _take(reference: Reference, read: Read) -> None:
    """Check the rows and store them, beside those that are none and are counted as routed."""
    batch, dataset, promises = reference.batch, reference.dataset, _promises(reference)
    with reference.installation.engine.begin() as connection:
        done = _sifted(connection, reference, read.rows)
        lines = waiting_lines(read.misfits, read.places, reference.installation.key)
        bad = [row_triage.placed(done.quarantined, read.places), *([lines] if lines is not None else [])]
        counts = read.counted(done.counts)
        found = {**counts, **read.profile, **batch_profile.of_quarantined(*bad), "cleaned": read.cleaned}
        figures = dict.fromkeys(promises.bounds, 0.0) | batch_profile.figures([found], database_now(connection))
        findings = judge(batch.batch_id, dataset, promises, read.sample, figures)
        reason = refusal(findings, found["rules"], read.unread)
        if not reason:
            apply.lock_entities(connection)
            statements.begin(connection, batch.batch_id)
            reference.store(connection, done.accepted, read.stated, batch.batch_id)
            stored = store_waiting(connection, batch.source, {(batch.batch_id, 0): bad})
            new = stored.get(batch.batch_id, 0)
            again = counts["quarantined"] - new
            counts |= {"quarantined": new, "duplicate": counts["duplicate"] + again}
            ledger.record_chunk(connection, batch.batch_id, 0, counts, found | counts)
            traits = _trait_notes(done.accepted) if dataset == "users" else None
            notes = reading_notes([read.places.notes], read.unread)
            ledger.close_batch(connection, batch.batch_id, findings, " ".join(filter(None, [notes, traits])) or None)
            mark_resolved(connection, [batch], [done.accepted[reference.key]], waiting_subjects(connection, batch))
            close_resolved(connection, batch)
            return
    refuse(reference.installation, batch, findings, reason)


def _trait_notes(users: pa.Table) -> str | None:
    """Return which traits of a file of users have too many values for groups, and what becomes of them."""
    traits = users[columns.ATTRIBUTES].combine_chunks()
    named = dict(zip(traits.type.names, traits.flatten(), strict=True))
    groups = trait_pooling.fit(pa.table(named)) if named else {}
    return " ".join(trait_pooling.sentences({name: rule for name, rule in groups.items() if rule.values > 1})) or None
