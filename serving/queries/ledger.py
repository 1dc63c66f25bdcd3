"""The ledger and the quarantine, to look at."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, Engine, RowMapping, cast, func, select, true

from infra.database.schema.ledger_schema import audit_log
from infra.database.schema.schema import LEDGER, ingest_batches, ingest_chunks, quarantine
from infra.overview.corrections import corrections
from models.errors import TailorbirdError
from models.ingest.check.file_names import file_name
from models.monitoring.guidance.correction import Correction

Row = dict[str, Any]


class UnknownBatchError(TailorbirdError):
    """A batch that the ledger does not know."""


def ledger(engine: Engine, limit: int = 50, source: str | None = None) -> list[Row]:
    """The newest batches, of all sources or of one: what became of their rows, and who changed that later."""
    entry = ingest_batches.c
    shown = (
        entry.batch_id,
        entry.source,
        entry.dataset,
        entry.status,
        entry.location,
        entry.started_at,
        *(entry[name] for name in LEDGER),
        entry.late,
        entry.consent,
        entry.detail,
    )
    with engine.connect() as connection:
        mine = entry.source == source if source else true()
        found = connection.execute(
            select(*shown).where(mine).order_by(entry.started_at.desc(), entry.location.desc()).limit(limit)
        )
        rows = [_with_file(row) for row in found.mappings()]
        changes = _changes(connection, [row["batch_id"] for row in rows])
    return [row | {"changes": changes.get(row["batch_id"], [])} for row in rows]


def batch(engine: Engine, batch_id: str) -> Row:
    """Return all that is recorded of one batch: origin, counts of rows, corrected values, and what people changed.

    `rules` counts the rows that broke each rule when they were read, `waiting` those that wait in quarantine now.
    Raises UnknownBatchError.
    """
    said = select(ingest_batches).where(ingest_batches.c.batch_id == batch_id)
    with engine.connect() as connection:
        found = connection.execute(said).mappings().first()
        if found is None:
            raise UnknownBatchError(f"There is no batch {batch_id!r}; `tailorbird ledger` lists them.")
        summed: Row = {name: _summed(connection, batch_id, name) for name in ("rules", "cleaned")}
        summed["changes"] = _changes(connection, [batch_id]).get(batch_id, [])
    mine = [row for row in quarantined(engine) if row["batch_id"] == batch_id]
    summed["waiting"] = {name: mine[0][name] for name in ("rows", "rules")} if mine else {"rows": 0, "rules": {}}
    broken = [finding["rule_id"] for finding in found["quality"] or [] if not finding["passed"]]
    shown = {name: value for name, value in found.items() if name not in ("quality", "batch_id")}
    return (
        {"batch_id": batch_id, "file": file_name(found["location"])} | shown | summed | {"broken_expectations": broken}
    )


def _with_file(row: RowMapping) -> Row:
    """Return a row with the name of its file in place of where it is."""
    return {name: value for name, value in row.items() if name != "location"} | {"file": file_name(row["location"])}


def _changes(connection: Connection, batches: Sequence[str]) -> dict[str, list[Row]]:
    """Return by batch what people changed: who undid it or dismissed rows of it, when and why, in order."""
    entry = audit_log.c
    mine = select(entry.subject, entry.at, entry.action, entry.actor, entry.reason).where(
        entry.subject.in_(batches), entry.action.in_(("undo", "dismiss"))
    )
    found: dict[str, list[Row]] = {}
    for row in connection.execute(mine.order_by(entry.entry_id)).mappings():
        found.setdefault(row["subject"], []).append({name: row[name] for name in ("at", "action", "actor", "reason")})
    return found


def _summed(connection: Connection, batch_id: str, name: str) -> dict[str, int]:
    """The counts of one kind over the chunks of a batch."""
    counted = func.jsonb_each_text(ingest_chunks.c.profile[name]).table_valued("key", "value").render_derived()
    total = func.sum(cast(counted.c.value, BigInteger))
    rows = select(counted.c.key, total).select_from(ingest_chunks.join(counted, true()))
    mine = rows.where(ingest_chunks.c.batch_id == batch_id).group_by(counted.c.key).order_by(total.desc())
    return {key: int(value) for key, value in connection.execute(mine)}


def quarantined(engine: Engine) -> list[Row]:
    """Return how many rows wait in quarantine, by batch: all of them, and by rule.

    A row that broke two rules counts once among the rows, and for both of its rules.
    """
    entry, names = quarantine.c, (ingest_batches.c.source, ingest_batches.c.dataset, ingest_batches.c.location)
    waits = entry.replayed_at.is_(None)
    rule = select(entry.batch_id, func.unnest(entry.rule_ids).label("rule_id")).where(waits).subquery()
    by_rule = select(rule.c.batch_id, rule.c.rule_id, func.count()).group_by(rule.c.batch_id, rule.c.rule_id)
    by_batch = (
        select(entry.batch_id, *names, func.count().label("rows"))
        .join(ingest_batches, ingest_batches.c.batch_id == entry.batch_id)
        .where(waits)
        .group_by(entry.batch_id, *names)
        .order_by(func.count().desc(), entry.batch_id)
    )
    with engine.connect() as connection:
        found = {row["batch_id"]: _with_file(row) | {"rules": {}} for row in connection.execute(by_batch).mappings()}
        for batch_id, rule_id, count in connection.execute(by_rule.order_by(func.count().desc(), rule.c.rule_id)):
            found[batch_id]["rules"][rule_id] = count
    return list(found.values())


def waiting(engine: Engine, batch_id: str) -> int:
    """Return how many rows of a batch wait in quarantine. Raises UnknownBatchError."""
    mine = quarantine.c.batch_id == batch_id, quarantine.c.replayed_at.is_(None)
    with engine.connect() as connection:
        count: int = connection.execute(select(func.count(quarantine.c.row_number)).where(*mine)).scalar_one()
    if not count:
        batch(engine, batch_id)  # an unknown batch is refused
    return count


def correction(engine: Engine, batch_id: str) -> Correction | None:
    """Return what to do about the rows of a batch that wait because of earlier values; None if there are none."""
    with engine.connect() as connection:
        return corrections(connection, [batch_id]).get(batch_id)


def quarantined_rows(engine: Engine, batch_id: str, rule_id: str | None = None, limit: int = 20) -> list[Row]:
    """Return rows of a batch that wait in quarantine: their number in the file from 1, their rules and their values."""
    entry = quarantine.c
    mine = select(entry.row_number, entry.rule_ids, entry.payload).where(
        entry.batch_id == batch_id, entry.replayed_at.is_(None)
    )
    if rule_id:
        mine = mine.where(entry.rule_ids.any(rule_id))
    with engine.connect() as connection:
        found = connection.execute(mine.order_by(entry.row_number).limit(limit)).mappings().all()
    if not found:
        batch(engine, batch_id)  # that there is none is worth saying
    return [dict(row) | {"row_number": row["row_number"] + 1} for row in found]
