"""Counts the purchases in the lake that a data set has to contain."""

from typing import Final

import duckdb
from sqlalchemy import func, select

from infra.database.schema.schema import ingest_batches
from infra.installation import Installation
from models import columns
from tasks.ingest.ledger import COMMITTED
from tasks.lake.event_query import EventQuery, of_type

_EVENTS: Final = """
    SELECT count(*) FROM read_parquet($files, union_by_name = true) JOIN batches USING (batch_id)
"""
# Refunds are included: they are matched when a data set is built, and no row count reflects that.
_PURCHASES: Final = (
    EventQuery()
    .where(of_type(columns.PURCHASE), f"event.item_id <> '{columns.WHOLE_ORDER}'")
    .where(f"{EventQuery.USER} IN (SELECT user_key FROM users)")
    .select(f"count(*), count(DISTINCT {EventQuery.USER}), count(DISTINCT event.item_id)")
)
_REFERENCE: Final = ("items", "users")
"""Kinds of batches without events."""


def lake_counts(
    installation: Installation, connection: duckdb.DuckDBPyConnection, files: list[str]
) -> dict[str, float | None]:
    """Return the purchases in the lake of users with consent and on merchandise, with their users and items.

    `events` counts all events of committed batches, and `ledger` those that the ledger records as accepted. The tables
    of `connection` state which batches, users and items count.
    """
    rows, users, items = connection.execute(_PURCHASES, {"files": files}).fetchall()[0]
    ((events,),) = connection.execute(_EVENTS, {"files": files}).fetchall()
    entry = ingest_batches.c
    accepted = select(func.sum(entry.accepted)).where(entry.status == COMMITTED, entry.dataset.not_in(_REFERENCE))
    with installation.engine.connect() as database:
        ledger = database.execute(accepted).scalar()
    return {
        "rows_interactions": float(rows),
        "users": float(users),
        "items": float(items),
        "events": float(events),
        "ledger": float(ledger or 0),
    }
