"""Stores each batch's statements about items, users and devices, in the order of their application.

An undo removes the statements of one batch and applies the others again, so that no other value is lost. Values are
merged by key, independently of the order of files: the last one wins. The time of each key is stored beside the values,
as a text that sorts by time. A value without a time is older than one with a time. Of two values with the same time the
greater one wins.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple

import pyarrow as pa
from sqlalchemy import Connection, text

from infra.database.bulk_copy import copy_table
from models.columns import CHANGING
from models.ingest.tabular.duplicate_rows import MOMENT
from models.primitives.json_types import JsonObject

ITEM_TABLE, ITEM_STATED, USER_TABLE = "item_table", "item_stated", "user_table"
"""Rows of tables of items and users, and the dated values of a table of items."""
PERSON: Final = "person"
"""A user whom a batch introduces by rows outside the lake."""

WITHIN: Final = "attributes."
"""The prefix of the keys of an item's attributes, which are stored beside those of its columns."""
BYTES: Final = 'COLLATE "C"'
"""SQL: the order of the bytes, as in Python and DuckDB."""

_STATED: Final = "stated_values"
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
    FROM {_STATED} GROUP BY item_id"""
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
_REFUSING_USERS: Final = f"""
    SELECT DISTINCT users.user_key FROM ingest_statements AS entry JOIN users ON users.user_key = entry.key
    JOIN ({_CURRENT_ONES}) AS current USING (application_id) WHERE users.refused_at IS NOT NULL"""
Entity = Literal["item", "user"]
_KEYS: Final[dict[Entity, str]] = {"item": "item_id", "user": "user_key"}
_RECORD_HISTORY: Final = Path(__file__).with_name("record_history.sql").read_text()
_IS_STATED: Final = f"(key, name) IN (SELECT item_id, name FROM {_STATED})"
# A table replaces values: from the import on the value that it chooses counts, whatever its times are.
_DATED: Final = f"""
    SELECT item_id AS key, name, {MOMENT} AS since,
        CASE WHEN name = 'price' THEN value::float::text ELSE value END AS value
    FROM {_STATED} WHERE {MOMENT} < coalesce(CAST(:at AS timestamptz), now())
    UNION ALL SELECT * FROM ({{coming}}) AS coming WHERE {_IS_STATED}"""
_UNDATED: Final = f"""
    SELECT coming.* FROM ({{coming}}) AS coming JOIN items ON items.item_id = coming.key WHERE NOT {_IS_STATED}"""


class StatedRow(NamedTuple):
    """A row of a table of items or users, as a batch stated it."""

    key: str
    values: JsonObject
    times: dict[str, str]
    """By column or attribute, when its value was stated."""


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


def merge_repeated(connection: Connection, batch_id: str) -> None:
    """Merge the statements of a table that was applied again into its first application."""
    for statement in _MERGE_REPEATED:
        connection.execute(text(statement), {"batch_id": batch_id})


def refusing_users(connection: Connection, *batch_ids: str) -> list[str]:
    """Return the users who refused before and of whom these batches state something."""
    return list(connection.execute(text(_REFUSING_USERS), {"batch_ids": list(batch_ids)}).scalars())


def times_at(times: dict[str, str], at: datetime | None) -> dict[str, str]:
    """Return the times of a table's values: all `at` the moment of a later application, if there was one."""
    if at is None:
        return times
    return dict.fromkeys(times, written(at, at))


def written(moment: datetime, now: datetime) -> str:
    """Return the text of a time beside a key. A time after `now` counts as `now`: it must not win forever."""
    known = min(moment, now).astimezone(UTC)
    return f"{known.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def moments(times: Mapping[str, datetime | None], now: datetime) -> dict[str, str]:
    """Return the times of keys as they are stored, none of them after `now`; a key without a time is left out."""
    texts = {moment: written(moment, now) for moment in set(times.values()) if moment is not None}
    return {key: texts[moment] for key, moment in times.items() if moment is not None}


def at(times: str, key: str) -> str:
    """Return SQL for the time of a key, which is SQL itself."""
    return f"coalesce({times} ->> ({key}), '') {BYTES}"


def item_column(name: str, least: str) -> str:
    """Return SQL for the value of an item's column in an upsert; `least` stands for no value."""
    new, old = (
        f"({at(f'{row}.field_timestamps', repr(name))}, coalesce({row}.{name}, {least}))"
        for row in ("excluded", "items")
    )
    return f"CASE WHEN {new} > {old} THEN excluded.{name} ELSE items.{name} END"


def item_flag(name: str) -> str:
    """Return SQL for the value of an item's flag in an upsert; rows that do not state it leave it unchanged."""
    new, old = (f"({at(f'{row}.field_timestamps', repr(name))}, {row}.{name})" for row in ("excluded", "items"))
    return (
        f"CASE WHEN excluded.field_timestamps ? '{name}' AND {new} > {old} THEN excluded.{name} ELSE items.{name} END"
    )


def merged_values(old: str, old_times: str, new: str, new_times: str, within: str = "", only: str = "true") -> str:
    """Return SQL for the merge of two documents; `only` is SQL for which keys may count, by their time `at`."""
    key = f"'{within}' || key"
    return f"""{old} || coalesce((
        SELECT jsonb_object_agg(key, value) FROM (SELECT *, {at(new_times, key)} AS at FROM jsonb_each({new})) AS dated
        WHERE (at, coalesce(value #>> '{{}}', '') {BYTES})
            > ({at(old_times, key)}, coalesce({old} ->> key, '') {BYTES}) AND {only}), '{{}}')"""


def merged_times(old: str, new: str, only: str = "true") -> str:
    """Return SQL for the merge of the times of keys."""
    return f"""{old} || coalesce((
        SELECT jsonb_object_agg(key, at) FROM (SELECT key, value {BYTES} AS at FROM jsonb_each_text({new})) AS dated
        WHERE at > {at(old, "key")} AND {only}), '{{}}')"""


def item_values(row: str) -> str:
    """Return SQL for the names and texts of an item's values, one row per column, for a LATERAL join."""
    values = ", ".join(f"('{name}', {row}.{name}::text)" for name in CHANGING)
    return f"(VALUES {values}) AS value (name, value)"


# The values before the statements are applied, and when they were stated last.
_CURRENT_VALUES: Final[dict[Entity, str]] = {
    "item": f"""
        SELECT item_id AS key, value.name, value.value,
            (items.field_timestamps ->> value.name)::timestamptz AS stated_at
        FROM items CROSS JOIN LATERAL {item_values("items")}
        WHERE value IS NOT NULL OR items.field_timestamps ? value.name""",
    "user": """
        SELECT user_key AS key, value.key AS name, value.value,
            (users.field_timestamps ->> value.key)::timestamptz AS stated_at
        FROM users CROSS JOIN LATERAL jsonb_each_text(users.attributes) AS value""",
}
_COMING: Final = f"""
    SELECT coming.item_id AS key, value.name, coalesce(CAST(:at AS timestamptz), now()) AS since, value.value
    FROM {{staging}} AS coming CROSS JOIN LATERAL {item_values("coming")}
    WHERE coming.field_timestamps ? value.name"""


def record_history(
    connection: Connection, entity: Entity, stated: str, table: bool = False, dated: bool = True, **values: object
) -> None:
    """Record the values that statements change; call it before they are applied.

    `stated` is SQL for `key`, `name`, `since` and `value` of each statement. The values of a `table` count from the
    beginning until their first change. If they are not `dated`, `since` is the time of the import.
    """
    statement = _RECORD_HISTORY.format(entity=entity, key=_KEYS[entity], stated=stated, current=_CURRENT_VALUES[entity])
    connection.execute(text(statement), {"table": table, "dated": dated, **values})


def record_item_batch(connection: Connection, batch_id: str, stated: pa.Table, staging: str) -> None:
    """Record the changes of a batch that is ingested, with its rows."""
    record_items(connection, stated, None, staging)
    record_rows(connection, batch_id, ITEM_TABLE, "item_id", staging)
    connection.execute(text(_RECORD_STATED), {"batch_id": batch_id})


def record_items(connection: Connection, stated: pa.Table, at: datetime | None, staging: str) -> None:
    """Record the changes that the table `staging` is about to make; `stated` has the dated values of its file.

    They count from the time `at`, or now.
    """
    connection.execute(text(f"DROP TABLE IF EXISTS {_STATED}"))
    shape = f"(item_id text, name text, value text, {MOMENT} timestamptz)"
    connection.execute(text(f"CREATE TEMP TABLE {_STATED} {shape} ON COMMIT DROP"))
    copy_table(connection, _STATED, stated.select(["item_id", "name", "value", MOMENT]))
    connection.execute(text(f"ANALYZE {_STATED}"))
    coming = _COMING.format(staging=staging)
    record_history(connection, "item", _UNDATED.format(coming=coming), table=True, dated=False, at=at)
    if len(stated):
        record_history(connection, "item", _DATED.format(coming=coming), table=True, at=at)
