"""Ingests a file of items or users in one transaction, so that a partial catalogue is never visible.

Of users it stores the traits that the mapping allows, and their answers about consent.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from sqlalchemy import Connection, select

from expectations.batches import USER_RULES, bounds, highest_quarantined, item_rules, limited
from infra import locks
from infra.database.bulk_copy import upsert
from infra.database.engine import database_now
from infra.database.schema.schema import items, suppressions, users
from infra.installation import Installation
from infra.keys.identity import forget_without_consent, key_version, remember
from models import columns
from models.features.segments import trait_pooling
from models.ingest.tabular import transform
from models.ingest.tabular.table_mapping import ItemsMapping, Mapping
from models.ingest.tabular.transform import Cleaned
from tasks.ingest import ledger
from tasks.ingest.events.chunk_readers import validate_file
from tasks.ingest.events.ingest_events import ingest_file, ledger_entry, refuse
from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.reference.read_reference import (
    ReferenceRows,
    keyed_users,
    read_reference,
    reference_profile,
    triage_reference,
)
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
from tasks.orchestration import run_names
from tasks.orchestration.guards import without_values
from tasks.quality.chunk_profile import with_counts
from tasks.quality.suites import BatchExpectations, reading_notes, refusal, validate_batch
from tasks.sources.mapping_files import part_of

_OFFER: Final = (
    *(columns.URL, columns.IMAGE, columns.IN_STOCK, columns.AVAILABLE_FROM, columns.AVAILABLE_UNTIL),
    columns.CURRENCY,
)
_NAMES: Final = (
    *(columns.ITEM_ID, columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE, columns.AVAILABLE),
    *_OFFER,
)
_ITEM_COLUMNS: Final = (*_NAMES, columns.ATTRIBUTES, columns.BATCH_ID, "field_timestamps")
_Answer = tuple[bool, str, datetime | None, datetime | None]
_ANSWER: Final = "the user's own answer, by the file of users"
_USER_COLUMNS: Final = (
    *(columns.USER_KEY, columns.ATTRIBUTES, "field_timestamps", columns.BATCH_ID),
    *(columns.CONSENT, "consent_source", columns.CONSENT_AT, "refused_at"),
)
_USER_CHANGES: Final = apply.ANSWERS | {
    columns.ATTRIBUTES: statements.merged_values(
        "users.attributes", "users.field_timestamps", "excluded.attributes", "excluded.field_timestamps"
    ),
    "field_timestamps": statements.merged_times("users.field_timestamps", "excluded.field_timestamps"),
}


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
    engine, part = reference.installation.engine, part_of(reference.mapping, reference.dataset)
    tolerated = highest_quarantined(reference.dataset, reference.mapping.limits)
    validate_file(path, reference.batch.location, part, tolerated)
    with locks.locked(engine, reference.batch.batch_id):
        with engine.begin() as connection:
            last, batch = ledger.latest_and_next(connection, reference.batch)
        rules = _expectations(reference).rules
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


def _trait_notes(rows: pa.Table) -> str | None:
    """Return the remarks on traits with too many values for groups."""
    traits = rows[columns.ATTRIBUTES].combine_chunks()
    values = dict(zip(traits.type.names, traits.flatten(), strict=True))
    groups = trait_pooling.fit(pa.table(values)) if values else {}
    return " ".join(trait_pooling.sentences({name: rule for name, rule in groups.items() if rule.values > 1})) or None


@task(task_run_name=run_names.of_file("ingest items"), description="Ingest the catalogue of one file into PostgreSQL.")
@without_values
def ingest_items(mapping: str, file: str, overrides: dict[str, str] | None = None) -> LedgerEntry:
    """Ingest one file of a mapping's items; returns the batch's line in the ledger. Raises BatchRefusedError."""
    return ingest_file(Mapping, mapping, overrides, file, "items", store_items)


def store_items(installation: Installation, tables: Mapping, batch: ledger.Batch, path: Path) -> LedgerEntry:
    """Ingest a table of items as a batch, as `ingest_items` does."""
    part = part_of(tables, "items")

    def shape(rows: pa.Table) -> Cleaned:
        return transform.items(rows, part, tables.spelling)

    def store(connection: Connection, rows: pa.Table, stated: pa.Table, batch_id: str) -> None:
        lines = _lines(rows, part, batch_id, database_now(connection))
        before = partial(statements.record_item_batch, connection, batch_id, stated)
        upsert(connection, items, _ITEM_COLUMNS, lines, apply.ITEM_CHANGES, before)

    reference = ReferenceFile(installation, tables, "items", batch, columns.ITEM_ID, shape, store)
    return ingest_reference(reference, path)


def restore_items(
    connection: Connection, rows: Iterable[statements.StatedRow], stated: pa.Table, batch_id: str, at: datetime
) -> None:
    """Store rows of a table again that a batch stated at the time `at`."""
    lines = _restored(rows, columns.ITEM_ID, _ITEM_COLUMNS, batch_id)
    before = partial(statements.record_items, connection, stated, at)
    upsert(connection, items, _ITEM_COLUMNS, lines, apply.ITEM_CHANGES, before)


def _restored(
    rows: Iterable[statements.StatedRow], key: str, names: Sequence[str], batch_id: str
) -> Iterator[tuple[object, ...]]:
    """Yield the values of rows that a batch stated before, in the order of the column names."""
    for row in rows:
        own = {key: row.key, columns.BATCH_ID: batch_id, "field_timestamps": json.dumps(row.times)}
        own[columns.ATTRIBUTES] = json.dumps(row.values[columns.ATTRIBUTES])
        yield tuple(own.get(name, row.values.get(name)) for name in names)


def _lines(rows: pa.Table, part: ItemsMapping, batch_id: str, now: datetime) -> Iterator[tuple[object, ...]]:
    """Return the rows to store. They count as of now, and replace the columns that the mapping reads, also by nulls."""
    read = [
        name for name in (columns.CATEGORY, columns.BRAND, columns.PRICE) if getattr(part, name) or name in part.fill
    ]
    read += [columns.AVAILABLE] if part.not_merchandise else []
    read += [columns.IN_STOCK] if part.available else []
    read += [name for name in _OFFER if name in part.constants or getattr(part, name, None)]
    attributes = rows.schema.field(columns.ATTRIBUTES).type.names
    keys = [columns.TITLE, *read, *(statements.WITHIN + name for name in attributes)]
    times = json.dumps(statements.moments(dict.fromkeys(keys, now), now))
    documents = map(json.dumps, rows[columns.ATTRIBUTES].to_pylist())
    return zip(*(rows[name].to_pylist() for name in _NAMES), documents, repeat(batch_id), repeat(times))


@task(
    task_run_name=run_names.of_file("ingest users"),
    description="Ingest the users of one file, with the traits that the mapping allows, into PostgreSQL.",
)
@without_values
def ingest_users(mapping: str, file: str, overrides: dict[str, str] | None = None) -> LedgerEntry:
    """Ingest one file of a mapping's users; returns the batch's line in the ledger. Raises BatchRefusedError."""
    return ingest_file(Mapping, mapping, overrides, file, "users", store_users)


def store_users(installation: Installation, tables: Mapping, batch: ledger.Batch, path: Path) -> LedgerEntry:
    """Ingest a table of users as a batch, as `ingest_users` does."""
    part, names = part_of(tables, "users"), list[pa.Table]()

    def shape(rows: pa.Table) -> Cleaned:
        cleaned, used = keyed_users(rows, part, installation.key)
        names.append(used)
        return cleaned

    def store(connection: Connection, rows: pa.Table, _stated: pa.Table, batch_id: str) -> None:
        identities = pa.concat_tables(names)
        stored = identities.filter(pc.is_in(identities["user_key"], rows["user_key"].combine_chunks()))
        remember(connection, stored, key_version(installation.key))
        _store_users(installation, connection, rows, tables, batch_id)
        forget_without_consent(connection, rows["user_key"].to_pylist())

    reference = ReferenceFile(installation, tables, "users", batch, columns.USER_KEY, shape, store)
    return ingest_reference(reference, path)


def _store_users(
    installation: Installation, connection: Connection, rows: pa.Table, mapping: Mapping, batch_id: str
) -> None:
    """Store users; their traits count as of now and replace earlier ones."""
    keys, attributes = (rows[name].to_pylist() for name in (columns.USER_KEY, columns.ATTRIBUTES))
    names = rows.schema.field(columns.ATTRIBUTES).type.names
    now = database_now(connection)
    times = json.dumps(statements.moments(dict.fromkeys(names, now), now))
    with_traits = zip(keys, map(json.dumps, attributes), repeat(times), repeat(batch_id))
    # Traits in a row with a refusal are dropped, even if a newer agreement is known.
    without_traits = [(key, "{}", "{}", batch_id) for key in keys]
    answers = _answers(installation, rows, mapping, now)
    rows_and_answers = zip(with_traits, without_traits, answers, strict=True)
    lines = ((*(bare if answer[-1] else row), *answer) for row, bare, answer in rows_and_answers)
    upsert(connection, users, _USER_COLUMNS, lines, _USER_CHANGES, partial(_record_users, connection, batch_id))
    # Users who refused keep no traits. Those of users without an answer are unused until the user agrees.
    apply.withdraw(connection, keys)


def restore_users(connection: Connection, rows: Sequence[statements.StatedRow], batch_id: str, at: datetime) -> None:
    """Store rows of a table again that a batch stated at the time `at`."""
    lines = _restored(rows, columns.USER_KEY, _USER_COLUMNS, batch_id)
    upsert(connection, users, _USER_COLUMNS, lines, _USER_CHANGES, partial(_record_traits, connection, at))
    apply.withdraw(connection, [row.key for row in rows])


def _record_users(connection: Connection, batch_id: str, staging: str) -> None:
    _record_traits(connection, None, staging)
    statements.record_rows(connection, batch_id, statements.USER_TABLE, columns.USER_KEY, staging)


def _record_traits(connection: Connection, at: datetime | None, staging: str) -> None:
    """Record the changes of known users that a table is about to make; they count from `at`, or now."""
    stated = f"""
        SELECT coming.user_key AS key, value.key AS name, value.value,
            coalesce(CAST(:at AS timestamptz), now()) AS since
        FROM {staging} AS coming JOIN users USING (user_key)
        CROSS JOIN LATERAL jsonb_each_text(coming.attributes) AS value"""
    statements.record_history(connection, "user", stated, table=True, dated=False, at=at)


def _answers(installation: Installation, rows: pa.Table, mapping: Mapping, now: datetime) -> Iterator[_Answer]:
    """Yield each user's consent, its source, and the times of the answer and of a refusal; by default now."""
    consents, moments = (
        rows[name].to_pylist() if name in rows.column_names else [None] * len(rows)
        for name in (columns.CONSENT, columns.CONSENT_AT)
    )
    keys, times = rows[columns.USER_KEY].to_pylist(), [min(moment or now, now) for moment in moments]
    refusals = [(key, at) for key, answer, at in zip(keys, consents, times, strict=True) if answer is False]
    agreed_at = {one.user_key: one.agreed_at for one in apply.agreed_after(installation.lake, refusals)}
    for key, answer, at in zip(keys, consents, times, strict=True):
        if answer is None:
            yield mapping.consent != "opt-in", mapping.consent_note, None, None
        elif answer or key not in agreed_at:
            yield answer, _ANSWER, at, None if answer else at
        else:
            yield True, _ANSWER, agreed_at[key], at
