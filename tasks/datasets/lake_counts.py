"""Counts in the lake what a data set has to account for."""

from typing import Final

import duckdb
from sqlalchemy import func, select

from infra.database.schema.schema import ingest_batches
from infra.installation import Installation
from models import columns
from tasks.ingest.ledger import COMMITTED
from tasks.lake.event_sql import OWNER

_EVENTS: Final = """
    SELECT count(*) FROM read_parquet($files, union_by_name = true) JOIN batches USING (batch_id)
"""
# Without refunds: they are matched when a data set is built, and no count of rows tells how.
_PURCHASES: Final = f"""
    SELECT count(*), count(DISTINCT {OWNER}), count(DISTINCT said.item_id)
    FROM read_parquet($files, union_by_name = true) AS said JOIN batches USING (batch_id)
    LEFT JOIN aliases ON aliases.device = said.user_key
    WHERE said.event_type = '{columns.PURCHASE}' AND said.item_id <> '{columns.WHOLE_ORDER}'
        AND said.item_id NOT IN (SELECT item_id FROM unsold) AND {OWNER} IN (SELECT user_key FROM users)
"""
_REFERENCE: Final = ("items", "users")
"""Batches of which no row is an event."""


def lake_counts(
    installation: Installation, connection: duckdb.DuckDBPyConnection, files: list[str]
) -> dict[str, float | None]:
    """Return the purchases in the lake of users with consent and on merchandise, with their users and items.

    `events` are all events of committed batches, and `ledger` as many as the ledger says were accepted. `connection`
    knows which batches, users and items count.
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
