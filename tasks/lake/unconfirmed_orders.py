"""Finds purchases that only fresh visitors and claims of pages state, beyond a share of an item's buyers.

Everybody can send purchases with the key of a page, by as many new devices or claims as they like. Such purchases count
up to a limit; the others wait. A purchase that a server's key, a signature or a file states too counts there alone.
"""

from datetime import datetime
from typing import Final, NamedTuple

import duckdb

from models import columns

EVENTS: Final = "lake_events"
"""The macro of the events of files, without those that do not count."""
# Not temporary, as other cursors of a connection read them.
_WAITING: Final = "unconfirmed_orders"
_COPIED: Final = "copied_orders"
_SHARE: Final = 0.05
_LEAST: Final = 3
"""Purchases of an item by fresh visitors and claims of one key within an hour that count: a share of its buyers, or so
many."""
_DAYS: Final = 28
"""The days of an item's buyers, and those for which a visitor is fresh."""
OF_PAGES: Final = f"event.{columns.AUTHORITY} IN ('{columns.PAGE}', '{columns.CLAIM}')"
"""SQL: whether only a page states an `event`, without a signature."""
# Lakes of earlier versions lack the column.
_ALL: Final = f"""(SELECT NULL::VARCHAR AS {columns.AUTHORITY} WHERE false
    UNION ALL BY NAME SELECT * FROM read_parquet($files, union_by_name = true)) AS event"""
_PURCHASES: Final = f"event.event_type = '{columns.PURCHASE}'"
_STATED: Final = f"""
    CREATE OR REPLACE TEMP TABLE page_purchases AS
    SELECT event_id, user_key, item_id, source, session_id, received_at, {columns.AUTHORITY} FROM {_ALL}
    WHERE {_PURCHASES} AND {OF_PAGES}"""
_COPIES: Final = f"""
    CREATE OR REPLACE TABLE {_COPIED} AS
    SELECT event_id FROM page_purchases SEMI JOIN (
        SELECT event.session_id, event.item_id FROM {_ALL} WHERE {_PURCHASES} AND NOT coalesce({OF_PAGES}, false)
    ) AS known USING (session_id, item_id)"""
# A user whom others know for years says nothing of who claims to be that user.
_FRESH: Final = f"""
    CREATE OR REPLACE TEMP TABLE fresh_purchases AS
    SELECT page_purchases.*, received_at < first_at + INTERVAL {_DAYS} DAY AS is_new FROM page_purchases JOIN (
        SELECT user_key, min(received_at) AS first_at FROM read_parquet($files, union_by_name = true)
        WHERE user_key IN (SELECT user_key FROM page_purchases) GROUP BY user_key) AS visitor USING (user_key)
    ANTI JOIN {_COPIED} USING (event_id)
    WHERE is_new OR {columns.AUTHORITY} = '{columns.CLAIM}'"""
_SURPLUS: Final = f"""
    CREATE OR REPLACE TABLE {_WAITING} AS
    WITH placed AS (
        SELECT *, date_trunc('hour', received_at) AS hour,
            row_number() OVER (PARTITION BY source, item_id ORDER BY received_at, event_id) - count(*) OVER (
                PARTITION BY source, item_id ORDER BY received_at
                RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL 1 HOUR PRECEDING) AS place
        FROM fresh_purchases
    ), crowded AS (SELECT * FROM placed WHERE place > {_LEAST}), regular AS (
        SELECT wanted.item_id, wanted.hour, count(DISTINCT event.user_key) AS buyers
        FROM (SELECT DISTINCT item_id, hour FROM crowded) AS wanted JOIN {_ALL} ON {_PURCHASES}
            AND event.item_id = wanted.item_id AND event.occurred_at < wanted.hour
            AND event.occurred_at >= wanted.hour - INTERVAL {_DAYS} DAY
        ANTI JOIN {_COPIED} ON {_COPIED}.event_id = event.event_id
        ANTI JOIN placed ON placed.event_id = event.event_id AND (placed.is_new OR placed.place > {_LEAST})
        GROUP BY ALL
    )
    SELECT event_id, item_id, source, received_at FROM crowded LEFT JOIN regular USING (item_id, hour)
    WHERE place > greatest({_LEAST}, {_SHARE} * coalesce(regular.buyers, 0))"""


class Waiting(NamedTuple):
    """Purchases of an item that wait for a confirmation."""

    item_id: str
    source: str
    """The name of the key."""
    purchases: int


def define_events(connection: duckdb.DuckDBPyConnection, files: list[str], *, claims: bool = True) -> None:
    """Define the macro `lake_events(files)`: the events of the lake's files that count.

    Without `claims`, the events that pages state of users without a signature are left out.
    """
    connection.execute(_STATED, {"files": files})
    left_out = ""
    if connection.execute("SELECT count(*) FROM page_purchases").fetchall()[0][0]:
        for statement in (_COPIES, _FRESH, _SURPLUS):
            connection.execute(statement, {"files": files})
        left_out = f"ANTI JOIN (FROM {_WAITING} SELECT event_id UNION ALL FROM {_COPIED}) AS other USING (event_id)"
    if not claims:
        left_out += f" WHERE event.{columns.AUTHORITY} IS DISTINCT FROM '{columns.CLAIM}'"
    events = _ALL.replace("$files", "files")
    connection.execute(f"CREATE OR REPLACE MACRO {EVENTS}(files) AS TABLE SELECT event.* FROM {events} {left_out}")


def waiting_since(connection: duckdb.DuckDBPyConnection, moment: datetime) -> list[Waiting]:
    """Return the items whose purchases since a moment wait, after `define_events`; the item with most of them first."""
    known = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [_WAITING]).fetchall()[0][0]
    if not known:
        return []
    statement = f"""
        SELECT item_id, source, count(*) AS purchases FROM {_WAITING} WHERE received_at >= ?
        GROUP BY ALL ORDER BY purchases DESC, item_id"""
    return [Waiting(*row) for row in connection.execute(statement, [moment]).fetchall()]
