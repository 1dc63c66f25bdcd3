"""Builds SQL for the lake's events that count: those of committed batches on merchandise, with their users.

Everybody can send purchases with the key of a page, by as many new devices or claims as they like. Of an item they
count up to a share of its buyers; the others wait. A purchase that a server's key, a signature or a file states too
counts there alone.

A refund with an order cancels that order's purchase of the item. A refund without one, or with an order that holds no
such purchase, cancels the user's latest purchase of the item that is not yet refunded. If the mapping has
`refund_order`, a refund cancels purchases of its order alone. A refund of a page cancels only what the same visitor
stated of the same order by a page, and with a signature what the user bought. The match is computed for every moment at
which it may change, so that a feature of an earlier moment never sees a later refund.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, Self

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
_PURCHASE: Final = f"event.event_type = '{columns.PURCHASE}'"
_STATED: Final = f"""
    CREATE OR REPLACE TEMP TABLE page_purchases AS
    SELECT event_id, user_key, item_id, source, session_id, received_at, {columns.AUTHORITY} FROM {_ALL}
    WHERE {_PURCHASE} AND {OF_PAGES}"""
_COPIES: Final = f"""
    CREATE OR REPLACE TABLE {_COPIED} AS
    SELECT event_id FROM page_purchases SEMI JOIN (
        SELECT event.session_id, event.item_id FROM {_ALL} WHERE {_PURCHASE} AND NOT coalesce({OF_PAGES}, false)
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
        FROM (SELECT DISTINCT item_id, hour FROM crowded) AS wanted JOIN {_ALL} ON {_PURCHASE}
            AND event.item_id = wanted.item_id AND event.occurred_at < wanted.hour
            AND event.occurred_at >= wanted.hour - INTERVAL {_DAYS} DAY
        ANTI JOIN {_COPIED} ON {_COPIED}.event_id = event.event_id
        ANTI JOIN placed ON placed.event_id = event.event_id AND (placed.is_new OR placed.place > {_LEAST})
        GROUP BY ALL
    )
    SELECT event_id, item_id, source, received_at FROM crowded LEFT JOIN regular USING (item_id, hour)
    WHERE place > greatest({_LEAST}, {_SHARE} * coalesce(regular.buyers, 0))"""
_EVENTS: Final = f"""
    {EVENTS}($files) AS event
    ANTI JOIN non_merchandise ON non_merchandise.item_id = event.item_id
    JOIN batches USING (batch_id) LEFT JOIN aliases ON aliases.device = event.user_key"""
# Lakes of the first version wrote the time of ingestion if the source had stated none.
_RECEIVED_AT: Final = (
    "epoch(CASE WHEN event.received_at < batches.started_at THEN event.received_at ELSE event.occurred_at END)::BIGINT"
)


@dataclass(frozen=True)
class EventQuery:
    """A query of the files `$files`, whose columns and conditions name an event `event`.

    `ReferenceData.register` makes the tables that it joins, and `match_refunds` the one of refunded purchases.
    """

    USER: ClassVar[str] = "coalesce(aliases.known, event.user_key)"
    """The key of the event's user, also if the event has the id of one of their devices."""
    RECEIVED_AT: ClassVar[str] = _RECEIVED_AT
    KNOWN_AT: ClassVar[str] = f"greatest(epoch(event.occurred_at)::BIGINT, {_RECEIVED_AT})"
    """When the event became known (epoch s)."""

    joins: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    def join(self, clause: str) -> Self:
        """Add a join clause."""
        return replace(self, joins=(*self.joins, clause))

    def join_users(self, table: str) -> Self:
        """Keep the events of the users in `table`, by its column `user_key`."""
        return self.join(f"JOIN {table} ON {table}.user_key = {self.USER}")

    def join_items(self, table: str) -> Self:
        """Keep the events on the items in `table`, by its column `item_id`."""
        return self.join(f"JOIN {table} ON {table}.item_id = event.item_id")

    def where(self, *conditions: str) -> Self:
        """Keep the events that meet all conditions."""
        return replace(self, conditions=(*self.conditions, *conditions))

    def not_refunded(self, moment: str | None = None) -> Self:
        """Leave out purchases that `refunded` names."""
        return self.where(f"NOT ({refunded(moment)})")

    def select(self, values: str, ending: str = "") -> str:
        """Return the statement; `ending` is what follows its conditions, such as GROUP BY."""
        conditions = f"WHERE {' AND '.join(f'({one})' for one in self.conditions)}" if self.conditions else ""
        return f"SELECT {values} FROM {_EVENTS} {' '.join(self.joins)} {conditions} {ending}"


def of_type(event_type: str) -> str:
    """Return the condition that an event has a type."""
    return f"event.event_type = '{event_type}'"


def refunded(moment: str | None = None) -> str:
    """Return the condition that an event is a purchase that was refunded as a whole.

    It holds by the refunds known before `moment`, SQL for a time in epoch seconds, or by all.
    """
    valid = "state.until IS NULL"
    if moment is not None:
        valid = f"state.since < {moment} AND coalesce(state.until >= {moment}, true)"
    return f"""{of_type(columns.PURCHASE)} AND EXISTS (
        SELECT 1 FROM purchase_states AS state
        WHERE state.event_id = event.event_id AND state.share = 0 AND {valid})"""


_STATES: Final = "CREATE TABLE purchase_states (event_id VARCHAR, since BIGINT, until BIGINT, share DOUBLE)"
_REFUND_EVENTS: Final = EventQuery().where(of_type(columns.REFUND))
_REFUNDED_ITEMS: Final = f"""({EventQuery.USER}, event.item_id) IN (SELECT (owner, item_id) FROM refunds)
    OR event.session_id IN (SELECT order_id FROM refunds)"""
_COUNT_REFUNDS: Final = _REFUND_EVENTS.select("count(*)")
# The orders of pages are apart from all others, visitor by visitor.
_EVENT: Final = f"""
    event.event_id, {EventQuery.USER} AS owner, event.item_id,
    event.item_id = '{columns.WHOLE_ORDER}' AS whole_order, event.session_id AS order_id, event.occurred_at AS "at",
    {EventQuery.KNOWN_AT} AS known, CASE WHEN event.quantity > 0 THEN event.quantity::DOUBLE END AS quantity,
    event.user_key AS visitor, coalesce({OF_PAGES}, false) AS of_page,
    coalesce(event.{columns.AUTHORITY} = '{columns.SIGNED}', false) AS signed,
    CASE WHEN {OF_PAGES} THEN event.user_key || chr(31) || event.session_id ELSE event.session_id END AS session_id
"""
_NAMES_ORDER: Final = "batches.refund_order AND event.session_id IS NOT NULL AS names_order"
_REFUNDS: Final = f"CREATE TEMP TABLE refunds AS {_REFUND_EVENTS.select(f'{_EVENT}, {_NAMES_ORDER}')}"
_PURCHASES: Final = f"""
    CREATE TEMP TABLE purchases AS
    {EventQuery().where(of_type(columns.PURCHASE), _REFUNDED_ITEMS).select(_EVENT)}
"""
_MATCH: Final = Path(__file__).with_name("refunds.sql")


class Refunds(NamedTuple):
    """How many refunds match a purchase, and how many do not."""

    matched: int
    unmatched: int


NO_REFUNDS: Final = Refunds(0, 0)


def match_refunds(connection: duckdb.DuckDBPyConnection, files: list[str]) -> Refunds:
    """Create the table `purchase_states` from these files of events; returns how many refunds match a purchase.

    A row has the `share` of a purchase that remains from `since` to `until` (epoch s; NULL: until now). Purchases of
    items that were never refunded have no row. The connection has the tables of `ReferenceData.register`.
    """
    connection.execute(_STATES)
    parameters = {"files": files}
    refunds = int(connection.execute(_COUNT_REFUNDS, parameters).fetchall()[0][0])
    if not refunds:
        return NO_REFUNDS
    for statement in (_REFUNDS, _PURCHASES):
        connection.execute(statement, parameters)
    matched = int(connection.execute(_MATCH.read_text()).fetchall()[0][0])
    for table in ("matched", "moments", "claims", "purchases", "refunds"):
        connection.execute(f"DROP TABLE {table}")
    return Refunds(matched, refunds - matched)


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
