"""Stores each batch's statements about items, users and devices, in the order of their application.

An undo removes the statements of one batch and applies the others again, so that no other value is lost.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

from models.ingest.tabular.duplicate_rows import MOMENT
from tasks.ingest.rows.last_write_wins import written

ITEM_TABLE, ITEM_STATED, USER_TABLE = "item_table", "item_stated", "user_table"
"""Rows of tables of items and users, and the dated values of a table of items."""
PERSON: Final = "person"
"""A user whom a batch introduces by rows outside the lake."""

_BEGIN: Final = """
    INSERT INTO ingest_applications (batch_id)
    SELECT batch_id FROM unnest(CAST(:batch_ids AS text[])) WITH ORDINALITY AS coming (batch_id, place)
    ORDER BY place"""
_CURRENT: Final = "(SELECT max(application_id) FROM ingest_applications WHERE batch_id = :batch_id)"
_CURRENT_ONES: Final = """
    SELECT batch_id, max(application_id) AS application_id FROM ingest_applications
    WHERE batch_id = ANY(:batch_ids) GROUP BY batch_id"""
_RECORD_UPDATES: Final = f"""
    INSERT INTO ingest_statements (application_id, chunk, kind, key, payload, field_timestamps, observed_at)
    SELECT application_id, chunk, kind, key, payload, field_timestamps, observed_at
    FROM ingest_updates JOIN ({_CURRENT_ONES}) AS current USING (batch_id)"""
_RECORD_ROWS: Final = f"""
    INSERT INTO ingest_statements (application_id, chunk, kind, key, payload, field_timestamps)
    SELECT DISTINCT ON ({{key}}) {_CURRENT}, 0, :kind, {{key}},
        to_jsonb(coming) - ARRAY['{{key}}', 'batch_id', 'field_timestamps'], field_timestamps
    FROM {{staging}} AS coming ORDER BY {{key}}"""
_RECORD_STATED: Final = f"""
    INSERT INTO ingest_statements (application_id, chunk, kind, key, payload)
    SELECT {_CURRENT}, 0, '{ITEM_STATED}', item_id,
        jsonb_build_object('changes', jsonb_agg(jsonb_build_object('name', name, 'value', value, 'since', {MOMENT})))
    FROM {{stated}} GROUP BY item_id"""
_APPEARED: Final = """
    INSERT INTO item_appearances (item_id) SELECT DISTINCT {key} FROM {source} ORDER BY 1 ON CONFLICT DO NOTHING"""
_APPEARED_IN_UPDATES: Final = _APPEARED.format(
    key="key", source="ingest_updates WHERE batch_id = ANY(:batch_ids) AND kind IN ('item', 'item_seen')"
)
_MERGE_REPEATED: Final = (
    f"""
    UPDATE ingest_applications SET repeats = (
        SELECT max(application_id) FROM ingest_applications AS earlier WHERE earlier.batch_id = :batch_id
            AND coalesce(earlier.repeats, 0) = 0 AND earlier.application_id < ingest_applications.application_id)
    WHERE application_id = {_CURRENT}""",
    f"DELETE FROM ingest_statements WHERE application_id = {_CURRENT}",
)
# As in `tasks.ingest.rows.consent`, values from before a refusal are removed.
_REFUSED: Final = "users.user_key = ANY(:keys) AND users.refused_at IS NOT NULL"
_REFUSED_AT: Final = """to_char(users.refused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_STRIP: Final = (
    f"""
    UPDATE ingest_statements AS entry SET payload = coalesce((
        SELECT jsonb_object_agg(key, value) FROM jsonb_each(entry.payload)
        WHERE users.consent AND entry.field_timestamps ->> key COLLATE "C" > {_REFUSED_AT}), '{{}}')
    FROM users WHERE {_REFUSED} AND entry.key = users.user_key AND entry.kind = 'traits'""",
    f"""
    UPDATE ingest_statements AS entry SET payload = jsonb_build_object('changes', coalesce((
        SELECT jsonb_agg(change) FROM jsonb_array_elements(entry.payload -> 'changes') AS change
        WHERE users.consent AND (change ->> 'since')::timestamptz > users.refused_at), '[]'))
    FROM users WHERE {_REFUSED} AND entry.key = users.user_key AND entry.kind = 'user_history'""",
    f"""
    UPDATE ingest_statements AS entry SET payload = entry.payload || '{{"attributes": {{}}}}'
    FROM users, ingest_applications AS application WHERE {_REFUSED} AND entry.key = users.user_key
        AND entry.kind = '{USER_TABLE}' AND application.application_id = entry.application_id
        AND (NOT users.consent OR application.applied_at <= users.refused_at)""",
    f"""
    DELETE FROM ingest_statements AS entry USING users WHERE {_REFUSED} AND entry.kind = 'device'
        AND entry.payload ->> 'user_key' = users.user_key AND entry.key IN (
            SELECT anonymous_key FROM aliases WHERE aliases.user_key = ANY(:keys))
        AND (NOT users.consent OR coalesce(entry.observed_at, '-infinity') <= users.refused_at)""",
)
_REFUSING_USERS: Final = f"""
    SELECT DISTINCT users.user_key FROM ingest_statements AS entry JOIN users ON users.user_key = entry.key
    JOIN ({_CURRENT_ONES}) AS current USING (application_id) WHERE users.refused_at IS NOT NULL"""


def begin(connection: Connection, *batch_ids: str) -> None:
    """Record that the statements of batches are applied now, in this order."""
    connection.execute(text(_BEGIN), {"batch_ids": list(batch_ids)})


def record_updates(connection: Connection, *batch_ids: str) -> int:
    """Store the staged updates that are about to be applied; returns their number."""
    connection.execute(text(_APPEARED_IN_UPDATES), {"batch_ids": list(batch_ids)})
    return connection.execute(text(_RECORD_UPDATES), {"batch_ids": list(batch_ids)}).rowcount


def record_rows(connection: Connection, batch_id: str, kind: str, key: str, staging: str) -> None:
    """Store the rows of `staging` that are about to be applied."""
    connection.execute(text(_RECORD_ROWS.format(key=key, staging=staging)), {"batch_id": batch_id, "kind": kind})
    if kind == ITEM_TABLE:
        connection.execute(text(_APPEARED.format(key=key, source=staging)))


def record_stated(connection: Connection, batch_id: str, stated: str) -> None:
    """Store the dated values of a table of items, from the temporary table `stated`."""
    connection.execute(text(_RECORD_STATED.format(stated=stated)), {"batch_id": batch_id})


def merge_repeated(connection: Connection, batch_id: str) -> None:
    """Merge the statements of a table that was applied again into its first application."""
    for statement in _MERGE_REPEATED:
        connection.execute(text(statement), {"batch_id": batch_id})


def strip(connection: Connection, keys: list[str]) -> None:
    """Remove the statements of users from before their refusal; call it before their devices are deleted."""
    for statement in _STRIP:
        connection.execute(text(statement), {"keys": keys})


def strip_batches(connection: Connection, *batch_ids: str) -> None:
    """Remove late statements of batches about users who refused before."""
    rows = connection.execute(text(_REFUSING_USERS), {"batch_ids": list(batch_ids)})
    if keys := list(rows.scalars()):
        strip(connection, keys)


def times_at(times: dict[str, str], at: datetime | None) -> dict[str, str]:
    """Return the times of a table's values: all `at` the moment of a later application, if there was one."""
    if at is None:
        return times
    return dict.fromkeys(times, written(at, at))
