"""Points out items that look like no goods, and amounts in several currencies, after an ingest. It changes neither."""

import shlex
from dataclasses import asdict
from typing import Final

import pyarrow as pa
from prefect import task
from sqlalchemy import select, text

from infra.database.bulk_copy import read_table
from infra.database.schema.schema import ingest_batches
from infra.database.schema.schema import items as goods
from infra.installation import Installation, current
from models import columns
from models.ingest.check.advice import OddBatch, odd_prices
from models.ingest.check.file_names import file_name
from models.ingest.check.non_goods import MOST, mark_for, odd_batch, suspects, too_many
from models.ingest.check.several_currencies import GROUPED, SEVERAL, several_currencies
from models.ingest.tabular.table_mapping import Mapping
from models.primitives.arrow_sql import query, texts
from tasks.ingest.ledger import COMMITTED, CurrencyAdvice, LedgerEntry, OddPrices
from tasks.lake.event_engine import event_engine
from tasks.lake.event_query import EventQuery, of_type, refunded
from tasks.orchestration.guards import without_values
from tasks.orchestration.run_artifacts import show
from tasks.sources.locations import shown
from tasks.sources.mapping_files import read

_ITEMS: Final = {columns.ITEM_ID: pa.string(), columns.TITLE: pa.string(), columns.PRICE: pa.float64()}
_PRICED: Final = "event_type = 'purchase' AND value > 0 AND quantity > 0"
_BOUGHT: Final = f"""
    WITH by_currency AS ({
    EventQuery()
    .where(of_type(columns.PURCHASE))
    .select(
        f'''event.item_id, currency, count(*) AS bought, count(*) FILTER ({refunded()}) AS returned,
            quantile_cont(value / quantity, 0.05) FILTER ({_PRICED}) AS lowest,
            quantile_cont(value / quantity, 0.95) FILTER ({_PRICED}) AS highest''',
        "GROUP BY 1, 2",
    )
})
    SELECT item_id, (sum(bought) OVER of_item)::BIGINT AS bought,
        (sum(returned) OVER of_item)::BIGINT AS returned, lowest, highest
    FROM by_currency WINDOW of_item AS (PARTITION BY item_id)
    QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY bought DESC, currency) = 1
"""
"""Of an item sold in several currencies, prices are those in the most frequent one."""
_PRICES: Final = f"""
    SELECT item_id, currency, batch_id, any_value(came) AS came, median(value / quantity) AS price
    FROM read_parquet({{files}}) SEMI JOIN odd USING (item_id) JOIN came USING (batch_id)
    WHERE {_PRICED} GROUP BY 1, 2, 3
"""
_STATED: Final = text("""
    SELECT key FROM ingest_statements
    JOIN ingest_applications USING (application_id) JOIN ingest_batches USING (batch_id)
    WHERE kind LIKE 'item%' AND key = ANY(:ids) AND source = :source
""")
_NO_PURCHASES: Final = {"item_id": pa.string(), "bought": pa.int64(), "returned": pa.int64()} | dict.fromkeys(
    ("lowest", "highest"), pa.float64()
)


@task(description="List items that look like services or notes, with the line of a mapping that marks them.")
@without_values
def find_suspects(
    mapping: str, ledger: list[LedgerEntry], overrides: dict[str, str] | None = None
) -> list[LedgerEntry]:
    """Return the ledger's lines; the last with new items or events gets `suspects` and `suspects_mark`.

    Suspects by prices or refunds alone become `odd_prices` if a wrong file or mapping is the more likely cause.
    """
    fresh = [line for line in ledger if line["status"] == COMMITTED and line["dataset"] in ("items", "events")]
    items = _read(current()) if fresh else None
    rows = suspects(items) if items is not None else []
    if items is None or not rows:
        return ledger
    odd = [row for row in rows if not row.pop("by_text")]
    batch = _odd_batch(current(), [row[columns.ITEM_ID] for row in odd])
    added = LedgerEntry()
    if batch or too_many(odd, items):
        check = shlex.join(["tailorbird", "check", mapping, shown(fresh[-1]["file"])])
        prices = OddPrices(items=len(odd), example=odd[0], batch=asdict(batch) if batch else None, check=check)
        added["odd_prices"] = prices
        show("odd-prices", f"{odd_prices(prices)} {batch or ''}", odd[:MOST])
        rows = [row for row in rows if row not in odd]
    source = read(mapping, overrides)
    part = source.items if isinstance(source, Mapping) else source
    if part:
        stated = _stated(current(), fresh[-1]["source"], [row[columns.ITEM_ID] for row in rows])
        rows = [row for row in rows if row[columns.ITEM_ID] in stated]
    if rows:
        mark = mark_for([row[columns.ITEM_ID] for row in rows[:MOST]], part) if part else None
        show("suspects", title(len(rows), mark), rows[:MOST])
        added |= LedgerEntry(suspects=rows[:MOST], suspects_found=len(rows), suspects_mark=mark)
    return [line | added if line is fresh[-1] else line for line in ledger]


def title(count: int, mark: str | None) -> str:
    """Return the headline over a table of suspects."""
    shown = f", the clearest {MOST}" if count > MOST else ""
    advice = f" Those that are none are never recommended once the mapping has: {mark}" if mark else ""
    return f"{count:,} items may be no goods{shown}.{advice}"


def _stated(installation: Installation, source: str, ids: list[str]) -> set[str]:
    """Return which of these items are in the source's own catalogue: its mapping cannot mark others."""
    with installation.engine.connect() as connection:
        return set(connection.execute(_STATED, {"source": source, "ids": ids}).scalars())


def _read(installation: Installation) -> pa.Table:
    """Return the catalogue's merchandise with purchases, refunded ones, and prices."""
    with installation.engine.connect() as connection:
        chosen = select(*(goods.c[name] for name in _ITEMS)).where(goods.c.available)
        items = read_table(connection, chosen, _ITEMS)
    bought = pa.schema(_NO_PURCHASES).empty_table()
    with event_engine(installation) as engine:
        if engine is not None:
            engine.match_refunds()
            bought = engine.query(_BOUGHT).to_arrow_table()
    return query(
        """
        SELECT item_id, coalesce(title, '') AS title, price, coalesce(bought, 0) AS bought,
            coalesce(returned, 0) AS returned, lowest, highest FROM items LEFT JOIN bought USING (item_id)
        """,
        items=items,
        bought=bought,
    )


def _odd_batch(installation: Installation, ids: list[str]) -> OddBatch | None:
    """Return the batch that most odd prices of these items come from; None if there is none."""
    files = installation.lake.event_files() if ids else []
    if not files:
        return None
    entry = ingest_batches.c
    counted = select(entry.batch_id, entry.location).where(entry.status == COMMITTED)
    with installation.engine.connect() as connection:
        batches = connection.execute(counted.order_by(entry.started_at, entry.batch_id)).all()
    came = pa.table({"batch_id": [row.batch_id for row in batches], "came": range(len(batches))})
    odd = pa.table({columns.ITEM_ID: pa.array(ids, pa.string())})
    prices = query(_PRICES.format(files=texts(files)), odd=odd, came=came)
    return odd_batch(prices, {row.batch_id: file_name(row.location) for row in batches}, len(ids))


@without_values
def find_currencies(
    mapping: str, lines: list[LedgerEntry], overrides: dict[str, str] | None = None
) -> list[LedgerEntry]:
    """Return the lines of an ingest; the last with new events gets `currencies` if its source has several."""
    fresh = [line for line in lines if line["status"] == COMMITTED and line["dataset"] not in ("items", "users")]
    files = current().lake.event_files() if fresh else []
    if not files:
        return lines
    source, entry = read(mapping, overrides), ingest_batches.c
    with current().engine.connect() as connection:
        ids = connection.execute(select(entry.batch_id).where(entry.source == source.name)).scalars().all()
    batches = pa.table({"batch_id": pa.array(ids, pa.string())})
    events = f"read_parquet({texts(files)}) SEMI JOIN batches USING (batch_id)"
    if not query(SEVERAL.format(events=events), batches=batches)["several"][0].as_py():
        return lines
    currencies = several_currencies(query(GROUPED.format(events=events), batches=batches))
    if currencies is None:
        return lines
    amounts = [{"currency": code, "amounts": rows} for code, rows in currencies.amounts.items()]
    show("currencies", str(currencies), amounts)
    write = currencies.conversion(source)
    advice: CurrencyAdvice = {"says": str(currencies), "advice": currencies.advice(write), "write": write}
    return [line | LedgerEntry(currencies=advice) if line is fresh[-1] else line for line in lines]
