"""Writes the past of this installation as files that another one ingests.

Each folder has the events that became known in one period, with the items and users that they name first. Folder 000
has everything before the first day.
"""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select

from infra.database.bulk_copy import read_table
from infra.database.schema.schema import identities
from infra.installation import Installation
from infra.private_files.permissions import private_files
from models import columns
from models.datasets.time_splits import midnight
from models.errors import TailorbirdError
from tasks.lake.event_engine import EventEngine, event_engine
from tasks.lake.event_query import EventQuery, of_type
from tasks.lake.reference_data import ReferenceData, read_reference_data

MAPPING: Final = "backtest.toml"
PURCHASES: Final = "purchases.parquet"
"""All purchases by period, without those that were refunded later."""
_COPIED: Final = (
    *(columns.EVENT_ID, columns.SESSION_ID, columns.EVENT_TYPE, columns.OCCURRED_AT),
    *(columns.QUANTITY, columns.VALUE, columns.CURRENCY, columns.RATING),
)
_EVENTS: Final = (
    EventQuery()
    .join_users("consenting")
    .join(f"LEFT JOIN ids ON ids.user_key = {EventQuery.USER}")
    .where(f"{EventQuery.KNOWN_AT} < $end")
)
_USER: Final = f"coalesce(ids.user_id, {EventQuery.USER}) AS user_id, {EventQuery.KNOWN_AT} AS known_at"
_PAST: Final = _EVENTS.select(
    f"{_USER}, {', '.join(f'event.{name}' for name in _COPIED)}, "
    f"nullif(event.item_id, '{columns.WHOLE_ORDER}') AS item_id"
)
_PURCHASES: Final = (
    _EVENTS.where(of_type(columns.PURCHASE))
    .not_refunded()
    .select(f"{_USER}, event.item_id, event.value, event.currency, epoch(event.occurred_at)::BIGINT AS occurred_at")
)
_PERIOD: Final = "len(list_filter($days::BIGINT[], lambda day: day <= known_at))"
"""SQL: 0 before the first day, 1 in the first period, and so on."""
_NEWCOMERS: Final = "SELECT {column}, min(period) AS period FROM past WHERE {column} IS NOT NULL GROUP BY 1"


def write_past(installation: Installation, folder: Path, days: Sequence[date]) -> None:
    """Write the events of users with consent up to the last of these days, period by period, and the mapping of them.

    Raises TailorbirdError if there are none before the first day or none in a period.
    """
    reference = read_reference_data(installation, history=False)
    with event_engine(installation, reference) as engine, private_files():
        if engine is None:
            raise TailorbirdError("There are no events to live again. Ingest some with `tailorbird ingest`.")
        _register(installation, engine, reference)
        limits = [midnight(day) for day in days]
        values = {"files": engine.files, "days": limits, "end": limits[-1]}
        connection = engine.connection
        engine.match_refunds()
        for table, query in (("past", _PAST), ("purchases", _PURCHASES)):
            rows = f"SELECT * EXCLUDE known_at, {_PERIOD} AS period FROM ({query})"
            connection.execute(f"CREATE TEMP TABLE {table} AS {rows}", values)
        known = {period for (period,) in connection.execute("SELECT DISTINCT period FROM purchases").fetchall()}
        if missing := sorted(set(range(len(days))) - known):
            when = f"from {days[missing[0] - 1]} to {days[missing[0]]}" if missing[0] else f"before {days[0]}"
            raise TailorbirdError(f"There are no purchases {when}. Choose other days with --from and --to.")
        traits = [name for name in reference.users.column_names if name != columns.USER_KEY]
        mark = "@" * (1 + max((len(name) - len(name.lstrip("@")) for name in traits), default=0))
        for period in range(len(days)):
            place = folder / f"{period:03}"
            place.mkdir(parents=True, exist_ok=True)
            for part, statement in _statements(traits, mark).items():
                content = connection.sql(statement, params={"period": period}).to_arrow_table()
                if content.num_rows:
                    pq.write_table(content, place / f"{part}.parquet")
        pq.write_table(connection.table("purchases").to_arrow_table(), folder / PURCHASES)
        orders = any(reference.batches["refund_order"].to_pylist())
        (folder / MAPPING).write_text(_mapping(traits, mark, refunds_name_orders=orders))


def _register(installation: Installation, engine: EventEngine, reference: ReferenceData) -> None:
    """Make the tables `consenting`, `ids` and `catalog`."""
    kinds = {columns.USER_KEY: pa.string(), columns.USER_ID: pa.string()}
    with installation.engine.connect() as connection:
        ids = read_table(connection, select(identities.c.user_key, identities.c.user_id), kinds)
    tables = {"consenting": reference.users, "ids": ids, "catalog": reference.items}
    for name, rows in tables.items():
        engine.connection.register(name, rows)


def _statements(traits: Sequence[str], mark: str) -> dict[str, str]:
    """Return the query of each file of a period. `mark` precedes our own columns, so that a trait may have any name."""
    events = ", ".join(f'{name} AS "{mark}{name}"' for name in (*_COPIED, columns.USER_ID, columns.ITEM_ID))
    item = (columns.ITEM_ID, columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE)
    items = ", ".join(f'catalog.{name} AS "{mark}{name}"' for name in item)
    kept = "".join(f', consenting."{quoted}"' for name in traits if (quoted := name.replace('"', '""')))
    return {
        "events": f"SELECT {events} FROM past WHERE period = $period ORDER BY occurred_at, event_id",
        "items": f"SELECT {items} FROM catalog JOIN ({_NEWCOMERS.format(column=columns.ITEM_ID)}) AS first "
        "USING (item_id) WHERE first.period = $period ORDER BY catalog.item_id",
        "users": f'SELECT first.user_id AS "{mark}{columns.USER_ID}"{kept} '
        f"FROM ({_NEWCOMERS.format(column=columns.USER_ID)}) AS first "
        "LEFT JOIN ids USING (user_id) JOIN consenting ON consenting.user_key = coalesce(ids.user_key, first.user_id) "
        "WHERE first.period = $period ORDER BY first.user_id",
    }


def _mapping(traits: Sequence[str], mark: str, *, refunds_name_orders: bool) -> str:
    """Return the mapping of the files. Their rows were checked when this installation ingested them."""
    own = {name: f"{mark}{name}" for name in (*_COPIED, columns.USER_ID, columns.ITEM_ID)}
    own |= {"refund_order": own[columns.SESSION_ID]} if refunds_name_orders else {}
    items = {name: f"{mark}{name}" for name in (columns.ITEM_ID, columns.TITLE, columns.BRAND, columns.PRICE)}
    category = {"category": [f"{mark}{columns.CATEGORY}"], "category_separator": columns.CATEGORY_SEPARATOR}
    parts: dict[str, dict[str, object]] = {
        "items": {**items, **category},
        "users": {columns.USER_ID: own[columns.USER_ID], "attributes": [*traits]},
        "events": {**own},
    }
    lines = ['consent = "given"', 'consent_note = "the events of users who consent in the installation they are of"']
    for part, keys in parts.items():
        lines += [
            "",
            f"[{part}]",
            f'file = "{part}.parquet"',
            *(f"{key} = {json.dumps(value)}" for key, value in keys.items()),
        ]
    lines += ["", "[limits]", "highest_quantity = 1e18", "highest_value = 1e18"]
    return "\n".join(lines) + "\n"
