"""Detects sources whose events have amounts in several currencies."""

import pyarrow as pa
from sqlalchemy import select

from infra.database.schema.schema import ingest_batches
from infra.installation import current
from models.ingest.check.several_currencies import GROUPED, SEVERAL, several_currencies
from models.primitives.arrow_sql import query, texts
from tasks.ingest.ledger import COMMITTED, CurrencyAdvice, LedgerEntry
from tasks.orchestration.guards import without_values
from tasks.orchestration.run_artifacts import show
from tasks.sources.mapping_files import read


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
