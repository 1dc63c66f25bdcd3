"""Ingests users, with the traits that the mapping allows and their answers about consent."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from sqlalchemy import Connection

from expectations.batches import highest_quarantined
from infra.database.bulk_copy import upsert
from infra.database.engine import database_now
from infra.database.schema.schema import users
from infra.installation import Installation
from infra.keys.identity import forget_without_consent, key_version, remember
from models import columns
from models.ingest.tabular.table_mapping import Mapping
from models.ingest.tabular.transform import Cleaned
from tasks.ingest import ledger
from tasks.ingest.events.chunk_readers import validate_file
from tasks.ingest.events.ingest_events import ingest_file
from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.reference.read_reference import keyed_users
from tasks.ingest.reference.reference_file import ReferenceFile, ingest_reference
from tasks.ingest.rows import apply, statements
from tasks.orchestration import run_names
from tasks.orchestration.guards import without_values
from tasks.sources.mapping_files import part_of

_Answer = tuple[bool, str, datetime | None, datetime | None]
_ANSWER: Final = "the user's own answer, by the file of users"
_COLUMNS: Final = (
    *(columns.USER_KEY, columns.ATTRIBUTES, "field_timestamps", columns.BATCH_ID),
    *(columns.CONSENT, "consent_source", columns.CONSENT_AT, "refused_at"),
)
_CHANGES: Final = apply.ANSWERS | {
    columns.ATTRIBUTES: statements.merged_values(
        "users.attributes", "users.field_timestamps", "excluded.attributes", "excluded.field_timestamps"
    ),
    "field_timestamps": statements.merged_times("users.field_timestamps", "excluded.field_timestamps"),
}


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
    validate_file(path, batch.location, part, highest_quarantined("users", tables.limits))

    def shape(rows: pa.Table) -> Cleaned:
        cleaned, used = keyed_users(rows, part, installation.key)
        names.append(used)
        return cleaned

    def store(connection: Connection, rows: pa.Table, _stated: pa.Table, batch_id: str) -> None:
        identities = pa.concat_tables(names)
        stored = identities.filter(pc.is_in(identities["user_key"], rows["user_key"].combine_chunks()))
        remember(connection, stored, key_version(installation.key))
        _store(installation, connection, rows, tables, batch_id)
        forget_without_consent(connection, rows["user_key"].to_pylist())

    reference = ReferenceFile(installation, tables, "users", batch, columns.USER_KEY, shape, store)
    return ingest_reference(reference, path)


def _store(installation: Installation, connection: Connection, rows: pa.Table, mapping: Mapping, batch_id: str) -> None:
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
    upsert(connection, users, _COLUMNS, lines, _CHANGES, partial(_record_batch, connection, batch_id))
    # Users who refused keep no traits. Those of users without an answer are unused until the user agrees.
    apply.withdraw(connection, keys)


def restore_users(connection: Connection, rows: Iterable[statements.StatedRow], batch_id: str, at: datetime) -> None:
    """Store rows of a table again that a batch stated at the time `at`."""
    stated = list(rows)
    answers = (columns.CONSENT, "consent_source", columns.CONSENT_AT, "refused_at")
    lines = (
        (
            *(row.key, json.dumps(row.values[columns.ATTRIBUTES]), json.dumps(row.times), batch_id),
            *map(row.values.get, answers),
        )
        for row in stated
    )
    upsert(connection, users, _COLUMNS, lines, _CHANGES, partial(_record_history, connection, at))
    apply.withdraw(connection, [row.key for row in stated])


def _record_batch(connection: Connection, batch_id: str, staging: str) -> None:
    _record_history(connection, None, staging)
    statements.record_rows(connection, batch_id, statements.USER_TABLE, columns.USER_KEY, staging)


def _record_history(connection: Connection, at: datetime | None, staging: str) -> None:
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
