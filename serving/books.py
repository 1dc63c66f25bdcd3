"""The ledger and the quarantine, to look at."""

from typing import Any

from sqlalchemy import Engine, func, select, true

from infra.schema import LEDGER, ingest_batches, quarantine

Row = dict[str, Any]


def ledger(engine: Engine, limit: int = 50, source: str | None = None) -> list[Row]:
    """The newest batches, of all sources or of one, and what became of their rows."""
    entry = ingest_batches.c
    shown = (
        entry.batch_id,
        entry.dataset,
        entry.status,
        *(entry[name] for name in LEDGER),
        entry.consent,
        entry.detail,
    )
    with engine.connect() as connection:
        mine = entry.source == source if source else true()
        found = connection.execute(select(*shown).where(mine).order_by(entry.started_at.desc()).limit(limit))
        return [dict(row) for row in found.mappings()]


def quarantined(engine: Engine) -> list[Row]:
    """How many rows wait in quarantine, by batch and rule; a row that broke two rules counts for both."""
    entry = quarantine.c
    rule = func.unnest(entry.rule_ids).label("rule_id")
    waiting = select(entry.batch_id, rule).where(entry.replayed_at.is_(None)).subquery()
    counted = select(waiting.c.batch_id, waiting.c.rule_id, func.count().label("rows")).group_by(
        waiting.c.batch_id, waiting.c.rule_id
    )
    with engine.connect() as connection:
        found = connection.execute(counted.order_by(waiting.c.batch_id, func.count().desc()))
        return [dict(row) for row in found.mappings()]


def quarantined_rows(engine: Engine, batch_id: str, rule_id: str | None = None, limit: int = 20) -> list[Row]:
    """Rows of a batch that wait in quarantine: their number in the file, the rules they broke, what they say."""
    entry = quarantine.c
    mine = select(entry.row_number, entry.rule_ids, entry.payload).where(
        entry.batch_id == batch_id, entry.replayed_at.is_(None)
    )
    if rule_id:
        mine = mine.where(entry.rule_ids.any(rule_id))
    with engine.connect() as connection:
        found = connection.execute(mine.order_by(entry.row_number).limit(limit))
        return [dict(row) for row in found.mappings()]
