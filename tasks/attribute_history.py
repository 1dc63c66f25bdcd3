"""Keeps what items and users were known as, so that a moment of the past is seen by what was known then.

Only values that change are kept. A statement with a time counts from that time on. One without a time counts from the
beginning if it is the first about its item or user and name; else from its import on.
"""

from typing import Any, Final, Literal

from sqlalchemy import Connection, text

Whose = Literal["item", "user"]

_KEYS: Final[dict[Whose, str]] = {"item": "item_id", "user": "user_key"}
# What stands before the statements are applied, of the names that they are about.
_STANDING: Final[dict[Whose, str]] = {
    "item": """
        SELECT item_id AS key, value.name, value.value FROM items CROSS JOIN LATERAL (VALUES
            ('title', title), ('category', category), ('brand', brand), ('price', price::text))
            AS value (name, value)
        WHERE value IS NOT NULL OR items.said_at ? value.name""",
    "user": """
        SELECT user_key AS key, value.key AS name, value.value FROM users
        CROSS JOIN LATERAL jsonb_each_text(users.attributes) AS value""",
}
_RECORD: Final = """
    INSERT INTO {whose}_history ({key}, name, since, value)
    WITH told AS ({told}),
    about AS (SELECT DISTINCT key, name FROM told),
    standing AS ({standing}),
    known AS (
        SELECT {key} AS key, name, since, value, 0 AS place FROM {whose}_history
            WHERE ({key}, name) IN (SELECT key, name FROM about)
        UNION ALL
        SELECT key, name, timestamptz '-infinity', value, 1 FROM standing JOIN about USING (key, name)
            WHERE NOT EXISTS (SELECT FROM {whose}_history AS kept WHERE kept.{key} = standing.key
                AND kept.name = about.name)
        UNION ALL
        SELECT key, name, since, value, 2 FROM told
    ), runs AS (
        SELECT *, lag(value) OVER before AS earlier, row_number() OVER before AS position FROM known
        WINDOW before AS (PARTITION BY key, name ORDER BY since, place, value)
    ), starts AS (
        SELECT *, count(*) OVER (PARTITION BY key, name) AS values FROM runs
        WHERE position = 1 OR value IS DISTINCT FROM earlier
    )
    SELECT DISTINCT ON (key, name, starting) key, name, starting, value FROM (
        SELECT *, CASE WHEN position = 1 AND :undated THEN timestamptz '-infinity' ELSE since END AS starting
        FROM starts
    ) AS dated
    WHERE place > 0 AND (values > 1 OR NOT :undated AND place = 2)
    ORDER BY key, name, starting, value DESC NULLS LAST
    ON CONFLICT ({key}, name, since) DO UPDATE SET value = greatest({whose}_history.value, excluded.value)"""


def record(connection: Connection, whose: Whose, told: str, undated: bool = False, **values: Any) -> None:
    """Keep what statements change; call it before they are applied.

    `told` is SQL for `key`, `name`, `since` and `value` of each statement. If it is `undated`, the times are those of
    the import.
    """
    statement = _RECORD.format(whose=whose, key=_KEYS[whose], told=told, standing=_STANDING[whose])
    connection.execute(text(statement), {"undated": undated, **values})
