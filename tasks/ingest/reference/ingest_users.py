"""Takes the users in, with those traits that the mapping allows and what they said about consent."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import repeat
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from sqlalchemy import Connection

from expectations.limits import highest_quarantined
from infra.database.bulk_copy import upsert
from infra.database.clock import database_now
from infra.database.schema.schema import users
from infra.installation import Installation, current
from infra.keys.identity import key_version, remember
from models import columns
from models.ingest.normalisation import Cleaned
from models.ingest.tabular.config import Mapping
from tasks.ingest.batch_identity import batch_of, part_of, request_of, table_mapping
from tasks.ingest.entity_updates import attribute_history, consent, last_write_wins
from tasks.ingest.events.tabular_parts import checked
from tasks.ingest.reference.reference_file import Reference, ingest_reference
from tasks.ingest.reference.table_users import keyed_users
from tasks.ingest.undo import statements
from tasks.orchestration import run_names
from tasks.orchestration.defects import without_values
from tasks.sources import locations

_ANSWER: Final = "the user's own answer, by the file of users"
_COLUMNS: Final = (
    *(columns.USER_KEY, columns.ATTRIBUTES, "field_timestamps", columns.BATCH_ID),
    *(columns.CONSENT, "consent_source", columns.CONSENT_AT, "refused_at"),
)
_CHANGES: Final = consent.ANSWERS | {
    columns.ATTRIBUTES: last_write_wins.values(
        "users.attributes", "users.field_timestamps", "excluded.attributes", "excluded.field_timestamps"
    ),
    "field_timestamps": last_write_wins.times("users.field_timestamps", "excluded.field_timestamps"),
}


@task(
    task_run_name=run_names.of_file("ingest users"),
    description="The users of one file and the traits on the mapping's allow-list, into Postgres.",
)
@without_values
def ingest_users(mapping: str, file: str, overrides: dict[str, str] | None = None) -> dict[str, Any]:
    """Ingest one file of a mapping's users; returns the batch's line in the ledger. Raises BatchRefusedError."""
    installation, known = current(), table_mapping(mapping, overrides)
    part, names = part_of(known, "users"), []
    with locations.fetched(file, installation.settings.var) as path:
        checked(path, file, part, highest_quarantined("users", known.limits))
        batch = batch_of(known, "users", path, file, request_of(mapping, overrides))

        def shape(rows: pa.Table) -> Cleaned:
            cleaned, used = keyed_users(rows, part, installation.key)
            names.append(used)
            return cleaned

        def store(connection: Connection, rows: pa.Table, _stated: pa.Table, batch_id: str) -> None:
            everybody = pa.concat_tables(names)
            stored = everybody.filter(pc.is_in(everybody["user_key"], rows["user_key"].combine_chunks()))
            remember(connection, stored, key_version(installation.key))
            _store(installation, connection, rows, known, batch_id)

        return ingest_reference(Reference(installation, known, "users", batch, columns.USER_KEY, shape, store), path)


def _store(installation: Installation, connection: Connection, rows: pa.Table, mapping: Mapping, batch_id: str) -> None:
    """Traits are replaced: they were told now."""
    keys, attributes = (rows[name].to_pylist() for name in (columns.USER_KEY, columns.ATTRIBUTES))
    names = rows.schema.field(columns.ATTRIBUTES).type.names
    now = database_now(connection)
    said_at = json.dumps(last_write_wins.moments(dict.fromkeys(names, now), now))
    told = zip(keys, map(json.dumps, attributes), repeat(said_at), repeat(batch_id))
    # What somebody tells with a refusal is not heard, even if an agreement is known that is newer.
    mute = [(key, "{}", "{}", batch_id) for key in keys]
    answers = _answers(installation, rows, mapping, now)
    lines = ((*(bare if said[-1] else row), *said) for row, bare, said in zip(told, mute, answers, strict=True))
    upsert(connection, users, _COLUMNS, lines, _CHANGES, partial(_keep_batch, connection, batch_id))
    # Of who has refused no trait is kept. Of who was never asked they wait, of no use until the user agrees.
    consent.withdraw(connection, keys)


def restore_users(
    connection: Connection, rows: Iterable[tuple[str, dict[str, Any], dict[str, str]]], batch_id: str, at: datetime
) -> None:
    """Store rows of a table again that a batch stated `at` a time: of each user the key, values and their times."""
    stated = list(rows)
    answers = (columns.CONSENT, "consent_source", columns.CONSENT_AT, "refused_at")
    lines = (
        (key, json.dumps(said[columns.ATTRIBUTES]), json.dumps(times), batch_id, *map(said.get, answers))
        for key, said, times in stated
    )
    upsert(connection, users, _COLUMNS, lines, _CHANGES, partial(_keep_history, connection, at))
    consent.withdraw(connection, [key for key, _, _ in stated])


def _keep_batch(connection: Connection, batch_id: str, staging: str) -> None:
    _keep_history(connection, None, staging)
    statements.keep_rows(connection, batch_id, statements.USER_TABLE, columns.USER_KEY, staging)


def _keep_history(connection: Connection, at: datetime | None, staging: str) -> None:
    """Keep what a table is about to change of users that are known already; it counts from `at`, or now."""
    stated = f"""
        SELECT coming.user_key AS key, value.key AS name, value.value,
            coalesce(CAST(:at AS timestamptz), now()) AS since
        FROM {staging} AS coming JOIN users USING (user_key)
        CROSS JOIN LATERAL jsonb_each_text(coming.attributes) AS value"""
    attribute_history.record(connection, "user", stated, table=True, dated=False, at=at)


def _answers(installation: Installation, rows: pa.Table, mapping: Mapping, now: datetime) -> Iterator[tuple[Any, ...]]:
    """Of each user the consent, where it comes from, when it was given, and when refused; without a time it was now."""
    said, moments = (
        rows[name].to_pylist() if name in rows.column_names else [None] * len(rows)
        for name in (columns.CONSENT, columns.CONSENT_AT)
    )
    keys, times = rows[columns.USER_KEY].to_pylist(), [min(moment or now, now) for moment in moments]
    refusals = [(key, at) for key, answer, at in zip(keys, said, times, strict=True) if answer is False]
    since = {row["user_key"]: row["agreed_at"] for row in consent.agreed_after(installation, refusals)}
    for key, answer, at in zip(keys, said, times, strict=True):
        if answer is None:
            yield mapping.consent != "opt-in", mapping.consent_note, None, None
        elif answer or key not in since:
            yield answer, _ANSWER, at, None if answer else at
        else:
            yield True, _ANSWER, since[key], at
