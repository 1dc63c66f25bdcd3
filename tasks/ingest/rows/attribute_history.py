"""Records earlier values of items and users, so that features of a past moment use the values known then.

Only values that change are stored. A value with a time counts from that time on, one without from its import on. The
first value of a table for an item or user and name counts from the beginning, unless an earlier table had one.
"""

from datetime import datetime
from typing import Final, Literal

import pyarrow as pa
from sqlalchemy import Connection, text

from infra.database.bulk_copy import copy_table
from models.columns import CHANGING
from models.ingest.tabular.duplicate_rows import MOMENT
from tasks.ingest.rows import statements

Entity = Literal["item", "user"]
_KEYS: Final[dict[Entity, str]] = {"item": "item_id", "user": "user_key"}
# Stored rows come first (0), then current values without a history (1), then the statements (2).
_RECORD: Final = """
    INSERT INTO {entity}_history ({key}, name, since, value)
    WITH stated AS ({stated}),
    stated_names AS (SELECT DISTINCT key, name FROM stated),
    stored AS (
        SELECT {key} AS key, name, since, value FROM {entity}_history
        WHERE ({key}, name) IN (SELECT key, name FROM stated_names)
    ), current_values AS ({current}),
    unchanged AS (
        SELECT * FROM current_values JOIN stated_names USING (key, name)
        WHERE NOT EXISTS (
            SELECT FROM stored WHERE stored.key = current_values.key AND stored.name = current_values.name)
    ), known AS (
        SELECT key, name, since, value, 0 AS place FROM stored
        UNION ALL SELECT key, name, timestamptz '-infinity', value, 1 FROM unchanged
        UNION ALL SELECT key, name, stated_at, value, 1 FROM unchanged WHERE stated_at IS NOT NULL
        UNION ALL SELECT key, name, since, value, 2 FROM stated
        UNION ALL
        -- The first table counts from the beginning, also if a dated value was ingested before it.
        SELECT key, name, timestamptz '-infinity', value, 2
        FROM (SELECT DISTINCT ON (key, name) * FROM stated ORDER BY key, name, since) AS stated WHERE :table
            AND NOT EXISTS (SELECT FROM stored WHERE stored.key = stated.key AND stored.name = stated.name
                AND stored.since = '-infinity')
            AND NOT EXISTS (SELECT FROM unchanged WHERE unchanged.key = stated.key AND unchanged.name = stated.name)
    ), runs AS (
        SELECT *, lag(value) OVER before AS earlier, row_number() OVER before AS position FROM known
        WINDOW before AS (PARTITION BY key, name ORDER BY since, place, value)
    ), starts AS (
        SELECT *, count(*) OVER (PARTITION BY key, name) AS values FROM runs
        WHERE position = 1 OR value IS DISTINCT FROM earlier
    )
    SELECT DISTINCT ON (key, name, since) key, name, since, value FROM starts
    WHERE place > 0 AND (values > 1 OR :dated AND (:table OR place = 2))
    ORDER BY key, name, since, value DESC NULLS LAST
    ON CONFLICT ({key}, name, since) DO UPDATE SET value = greatest({entity}_history.value, excluded.value)"""


def item_values(row: str) -> str:
    """Return SQL for the names and texts of an item's values, one row per column, for a LATERAL join."""
    values = ", ".join(f"('{name}', {row}.{name}::text)" for name in CHANGING)
    return f"(VALUES {values}) AS value (name, value)"


# The values before the statements are applied, and when they were stated last.
_CURRENT: Final[dict[Entity, str]] = {
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
_STATED: Final = "stated_values"
_NAMES: Final = ["item_id", "name", "value", MOMENT]
_COMING: Final = f"""
    SELECT coming.item_id AS key, value.name, coalesce(CAST(:at AS timestamptz), now()) AS since, value.value
    FROM {{staging}} AS coming CROSS JOIN LATERAL {item_values("coming")}
    WHERE coming.field_timestamps ? value.name"""
_IS_STATED: Final = f"(key, name) IN (SELECT item_id, name FROM {_STATED})"
# A table replaces values: from the import on the value that it chooses counts, whatever its times are.
_DATED: Final = f"""
    SELECT item_id AS key, name, {MOMENT} AS since,
        CASE WHEN name = 'price' THEN value::float::text ELSE value END AS value
    FROM {_STATED} WHERE {MOMENT} < coalesce(CAST(:at AS timestamptz), now())
    UNION ALL SELECT * FROM ({{coming}}) AS coming WHERE {_IS_STATED}"""
_UNDATED: Final = f"""
    SELECT coming.* FROM ({{coming}}) AS coming JOIN items ON items.item_id = coming.key WHERE NOT {_IS_STATED}"""


def record(
    connection: Connection, entity: Entity, stated: str, table: bool = False, dated: bool = True, **values: object
) -> None:
    """Record the values that statements change; call it before they are applied.

    `stated` is SQL for `key`, `name`, `since` and `value` of each statement. The values of a `table` count from the
    beginning until their first change. If they are not `dated`, `since` is the time of the import.
    """
    statement = _RECORD.format(entity=entity, key=_KEYS[entity], stated=stated, current=_CURRENT[entity])
    connection.execute(text(statement), {"table": table, "dated": dated, **values})


def record_item_batch(connection: Connection, batch_id: str, stated: pa.Table, staging: str) -> None:
    """Record the changes of a batch that is ingested, with its rows."""
    record_items(connection, stated, None, staging)
    statements.record_rows(connection, batch_id, statements.ITEM_TABLE, "item_id", staging)
    statements.record_stated(connection, batch_id, _STATED)


def record_items(connection: Connection, stated: pa.Table, at: datetime | None, staging: str) -> None:
    """Record the changes that the table `staging` is about to make; `stated` has the dated values of its file.

    They count from the time `at`, or now.
    """
    connection.execute(text(f"DROP TABLE IF EXISTS {_STATED}"))
    shape = f"(item_id text, name text, value text, {MOMENT} timestamptz)"
    connection.execute(text(f"CREATE TEMP TABLE {_STATED} {shape} ON COMMIT DROP"))
    copy_table(connection, _STATED, stated.select(_NAMES))
    connection.execute(text(f"ANALYZE {_STATED}"))
    coming = _COMING.format(staging=staging)
    record(connection, "item", _UNDATED.format(coming=coming), table=True, dated=False, at=at)
    if len(stated):
        record(connection, "item", _DATED.format(coming=coming), table=True, at=at)
