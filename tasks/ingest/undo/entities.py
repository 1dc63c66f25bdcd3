"""Removes a batch's statements about items, users and devices, and applies those of all other batches again.

A refusal stays. Otherwise an undo would show recommendations to a user who refused them.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, RowMapping, text

from infra.database.bulk_copy import copy_table
from infra.installation import Installation
from infra.lake.delta_lake import Lake
from models import columns
from models.ingest.tabular.duplicate_rows import MOMENT
from tasks.ingest.reference.ingest_reference import restore_items, restore_users
from tasks.ingest.rows import apply, statements
from tasks.ingest.rows.settle import UndoDetail

_FIND_AFFECTED: Final = text(Path(__file__).with_name("find_affected.sql").read_text())
_REMOVE_STATEMENTS: Final = text(Path(__file__).with_name("remove_statements.sql").read_text())
_RELEVANT: Final = """
    CREATE TEMP TABLE relevant_statements ON COMMIT DROP AS SELECT * FROM ingest_statements
    WHERE kind LIKE 'item%' AND key IN (SELECT key FROM affected_items)
        OR kind = 'device' AND key IN (SELECT key FROM affected_devices)
        OR kind NOT LIKE 'item%' AND kind <> 'device' AND key IN (SELECT key FROM affected_users);
    ANALYZE relevant_statements"""
_KEPT: Final = """
    SELECT count(DISTINCT key) FROM ingest_statements JOIN ingest_applications USING (application_id)
    WHERE batch_id = :batch_id"""
_DROP: Final = """
    DROP TABLE affected_items, affected_users, affected_devices, before_items, before_users, lake_users, introductions,
        relevant_statements"""
_APPLICATIONS: Final = """
    SELECT application_id, batch_id, applied_at, repeats,
        CASE WHEN repeats > 0 THEN repeats ELSE application_id END AS source,
        EXISTS (SELECT FROM introductions WHERE introductions.batch_id = entry.batch_id) AS introduces
    FROM ingest_applications AS entry ORDER BY application_id"""
_OVERRIDDEN_REFUSALS: Final = """
    SELECT application_id, chunk, kind, key, (payload ->> 'refused_at')::timestamptz AS refused_at
    FROM ingest_statements WHERE (kind = 'consent' AND payload ? 'agreed_by_event'
        OR kind = 'user_table' AND payload -> 'consent' = 'true' AND payload ->> 'refused_at' IS NOT NULL)
        AND key IN (SELECT key FROM affected_users)"""
_RESTORE_REFUSAL: Final = """
    UPDATE ingest_statements SET observed_at = CASE WHEN kind = 'consent' THEN :refused_at END,
        payload = payload - 'agreed_by_event' || '{"consent": false}'
            || CASE WHEN kind = 'user_table' THEN jsonb_build_object('consent_at', payload -> 'refused_at')
            ELSE '{}' END
    WHERE application_id = :application_id AND chunk = :chunk AND kind = :kind AND key = :key"""
_INTRODUCED: Final = """
    INSERT INTO users (user_key, attributes, consent, consent_source, batch_id)
    SELECT person.user_key, '{}', true, batch.consent, batch.batch_id FROM (
        SELECT user_key FROM introductions WHERE batch_id = :batch_id
        UNION SELECT key FROM relevant_statements WHERE application_id = :source AND kind = 'person'
    ) AS person, ingest_batches AS batch WHERE batch.batch_id = :batch_id ON CONFLICT DO NOTHING"""
_STAGED: Final = f"""
    INSERT INTO ingest_updates (batch_id, chunk, kind, key, payload, field_timestamps, observed_at)
    SELECT :batch_id, chunk, kind, key, payload - ARRAY['kept', 'agreed_by_event'], field_timestamps, observed_at
    FROM relevant_statements WHERE application_id = :source
        AND kind NOT IN ('person', 'item_table', 'item_stated', '{statements.USER_TABLE}')"""
# Histories from before statements were stored are not statements: they lack the times from which values count.
_HISTORIES: Final = tuple(
    f"""
    INSERT INTO {entity}_history ({key}, name, since, value)
    SELECT key, change ->> 'name', (change ->> 'since')::timestamptz, change ->> 'value'
    FROM relevant_statements CROSS JOIN LATERAL jsonb_array_elements(payload -> 'changes') AS change
    WHERE application_id = :source AND kind = '{entity}_history'"""
    for entity, key in (("item", "item_id"), ("user", "user_key"))
)
_ROWS: Final = (
    "SELECT key, payload, field_timestamps FROM relevant_statements WHERE application_id = :source AND kind = :kind"
)
_FIRST_SEEN: Final = """
    UPDATE users SET first_seen_on = earlier.first_seen_on FROM before_users AS earlier
    WHERE earlier.user_key = users.user_key AND earlier.first_seen_on < users.first_seen_on"""
_REMOVE_IDENTITIES: Final = """
    DELETE FROM identity.users WHERE user_key IN (SELECT key FROM affected_users)
        AND user_key NOT IN (SELECT user_key FROM introductions)
        AND user_key NOT IN (SELECT key FROM relevant_statements WHERE kind IN ('person', 'user_table')
            AND NOT payload ? 'kept')"""


def remove(
    installation: Installation,
    connection: Connection,
    batch_id: str,
    lake_users: pa.Table,
    introductions: Callable[[pa.Table], pa.Table],
) -> UndoDetail:
    """Remove a batch's statements, and apply those of other batches about the same items, users and devices again.

    `lake_users` are the users of the batch's events; `introductions` finds which other batches have events of users.
    """
    apply.lock_entities(connection)
    batch = {"batch_id": batch_id}
    connection.execute(text("CREATE TEMP TABLE lake_users (key text) ON COMMIT DROP"))
    copy_table(connection, "lake_users", pa.table({"key": lake_users[columns.USER_KEY].drop_null()}))
    connection.execute(_FIND_AFFECTED, batch)
    keys = pa.array(connection.execute(text("SELECT key FROM affected_users")).scalars(), pa.string())
    copy_table(connection, "introductions", introductions(pa.table({columns.USER_KEY: keys})))
    connection.execute(_REMOVE_STATEMENTS, batch)
    _withdraw_agreements(installation.lake, connection, batch_id)
    connection.execute(text(_RELEVANT))
    _apply_again(connection)
    connection.execute(text(_FIRST_SEEN))
    connection.execute(text(_REMOVE_IDENTITIES))
    items_removed, items_changed = _compared(connection, "items", "item_id")
    users_removed, users_changed = _compared(connection, "users", "user_key")
    changes = UndoDetail(
        items_removed=items_removed,
        items_changed=items_changed,
        users_removed=users_removed,
        users_changed=users_changed,
        refusals_kept=connection.execute(text(_KEPT), batch).scalar_one(),
    )
    connection.execute(text(_DROP))
    return changes


def _withdraw_agreements(lake: Lake, connection: Connection, batch_id: str) -> None:
    """Restore refusals that only an event of the batch overrode with a later agreement."""
    overridden = connection.execute(text(_OVERRIDDEN_REFUSALS)).mappings().all()
    refusals = [(row["key"], row["refused_at"]) for row in overridden]
    agreements = apply.agreed_after(lake, refusals, batch_id)
    confirmed = {(agreement.user_key, agreement.refused_at) for agreement in agreements}
    for row in overridden:
        if (row["key"], row["refused_at"]) not in confirmed:
            connection.execute(text(_RESTORE_REFUSAL), dict(row))


def _apply_again(connection: Connection) -> None:
    """Apply the remaining statements again, in their first order and as of their first times."""
    applied = connection.execute(text("SELECT DISTINCT application_id FROM relevant_statements")).scalars()
    with_statements = set(applied)
    for entry in connection.execute(text(_APPLICATIONS)).mappings().all():
        if entry["source"] not in with_statements and not entry["introduces"]:
            continue
        parameters = {"batch_id": entry["batch_id"], "source": entry["source"]}
        # Values from before statements were stored come first: an introduction must not change a consent.
        if entry["repeats"] == 0:
            _restore(connection, entry, None)
            for statement in _HISTORIES:
                connection.execute(text(statement), parameters)
        connection.execute(text(_INTRODUCED), parameters)
        if entry["source"] in with_statements:
            connection.execute(text(_STAGED), parameters)
            apply.apply_staged(connection, entry["batch_id"], entry["applied_at"])
        if entry["source"] in with_statements and entry["repeats"] != 0:
            _restore(connection, entry, entry["applied_at"] if entry["repeats"] else None)


def _restore(connection: Connection, entry: RowMapping, again: datetime | None) -> None:
    """Store the rows of tables again, in one application."""
    at, batch_id = entry["applied_at"], entry["batch_id"]

    def rows(kind: str) -> list[statements.StatedRow]:
        stored = connection.execute(text(_ROWS), {"source": entry["source"], "kind": kind}).tuples()
        return [statements.StatedRow(key, values, statements.times_at(times, again)) for key, values, times in stored]

    stated = [
        {"item_id": key, "name": change["name"], "value": change["value"], MOMENT: change["since"]}
        for key, values, _ in rows(statements.ITEM_STATED)
        for change in values["changes"]
    ]
    names = ("item_id", "name", "value", MOMENT)
    table = pa.table({name: pa.array([row[name] for row in stated], pa.string()) for name in names})
    if items := rows(statements.ITEM_TABLE):
        restore_items(connection, items, table, batch_id, at)
    if users := rows(statements.USER_TABLE):
        restore_users(connection, users, batch_id, at)


def _compared(connection: Connection, table: str, key: str) -> tuple[int, int]:
    """Return how many rows are removed, and how many have other values than before."""
    values = "to_jsonb({}) - ARRAY['batch_id', 'consent_source', 'field_timestamps']"
    counts = f"""
        SELECT count(*) FILTER (WHERE later.{key} IS NULL),
            count(*) FILTER (WHERE {values.format("later")} <> {values.format("earlier")})
        FROM before_{table} AS earlier LEFT JOIN {table} AS later USING ({key})"""
    gone, changed = connection.execute(text(counts)).one()
    return int(gone), int(changed)
