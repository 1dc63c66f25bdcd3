"""Takes the users in, with those traits that the mapping allows and what they said about consent."""

import json
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from sqlalchemy import Connection

from infra.bulk import upsert
from infra.identity import remember
from infra.installation import current
from infra.schema import users
from models import columns
from models.shapes import tabular
from models.shapes.cleaning import Cleaned
from models.shapes.mapping import Mapping
from models.shapes.traffic import USER_ID_TOO_LONG, too_long
from tasks.batches import batch_of, part_of, request_of, tables
from tasks.ingest_events import checked
from tasks.ingest_reference import Reference, ingest_reference
from tasks.prepare import pseudonymised
from tasks.sources import places

_ANSWER: Final = "the user's own answer, by the file of users"
_ANSWERED: Final = """excluded.consent_at IS NOT NULL
    AND (users.consent_at IS NULL OR excluded.consent_at >= users.consent_at)"""
_CONSENT: Final = {
    name: f"CASE WHEN {_ANSWERED} THEN excluded.{name} ELSE users.{name} END"
    for name in (columns.CONSENT, "consent_source", "consent_at")
}
"""What is declared for everybody changes nothing for who is known; an answer of their own does, if it is newer."""


@task(description="The users of one file and the traits on the mapping's allow-list, into Postgres.")
def ingest_users(mapping: str, file: str, overrides: dict[str, str] | None = None) -> dict[str, Any]:
    """Ingest one file of a mapping's users; returns the batch's line in the ledger. Raises BatchRefusedError."""
    here, known = current(), tables(mapping, overrides)
    part, names = part_of(known, "users"), []
    with places.fetched(file, here.settings.var) as path:
        checked(path, file, part)
        batch = batch_of(known, "users", path, file, request_of(mapping, overrides))

        def shape(rows: pa.Table) -> Cleaned:
            shaped, cleaned = tabular.users(rows, part)
            shaped = shaped.append_column(USER_ID_TOO_LONG, too_long(shaped[columns.USER_ID]))
            keyed, used = pseudonymised(shaped, here.key)
            names.append(used)
            return Cleaned(keyed, cleaned)

        def store(connection: Connection, rows: pa.Table) -> None:
            everybody = pa.concat_tables(names)
            remember(connection, everybody.filter(pc.is_in(everybody["user_key"], rows["user_key"].combine_chunks())))
            _store(connection, rows, known, batch.batch_id)

        return ingest_reference(Reference(here, known, "users", batch, columns.USER_KEY, shape, store), path)


def _store(connection: Connection, rows: pa.Table, mapping: Mapping, batch_id: str) -> None:
    """Traits are replaced. An answer without a time of its own was given now."""
    now = datetime.now(UTC)
    declared = mapping.consent != "opt-in"
    answers, moments = (
        rows[name].to_pylist() if name in rows.column_names else [None] * len(rows)
        for name in (columns.CONSENT, "consent_at")
    )
    keys, attributes = (rows[name].to_pylist() for name in (columns.USER_KEY, columns.ATTRIBUTES))
    lines = [
        (key, json.dumps(traits), declared, mapping.consent_note, batch_id, now, None)
        if said is None
        else (key, json.dumps(traits), said, _ANSWER, batch_id, now, moment or now)
        for key, traits, said, moment in zip(keys, attributes, answers, moments, strict=True)
    ]
    named = (columns.USER_KEY, columns.ATTRIBUTES, columns.CONSENT, "consent_source", columns.BATCH_ID, "said_at")
    upsert(connection, users, (*named, "consent_at"), lines, _CONSENT)
