"""Dismisses quarantined rows that will not be corrected, with a reason."""

from collections.abc import Sequence
from typing import TypedDict

from sqlalchemy import Engine, func, insert, select, update

from infra.database.schema.ledger_schema import audit_log
from infra.database.schema.schema import ingest_batches, quarantine
from models.errors import TailorbirdError, reason_fault


class Dismissal(TypedDict):
    """How many rows of a batch were dismissed, and how many still wait."""

    batch_id: str
    dismissed: int
    waiting: int


def dismiss(
    engine: Engine, batch_id: str, actor: str, reason: str, rule: str | None = None, rows: Sequence[int] = ()
) -> Dismissal:
    """Dismiss rows of a batch: all, those that break a rule, or single ones; returns how many.

    `rows` are numbered from 1, as in `quarantine show`. They stay in the table with the outcome `dismissed`, so that
    they do not wait again when they are ingested again.
    """
    if fault := reason_fault(reason, "the rows are dismissed", "orders of a test shop"):
        raise TailorbirdError(fault)
    entry = quarantine.c
    chosen = [entry.batch_id == batch_id, entry.replayed_at.is_(None)]
    chosen += [entry.rule_ids.any(rule)] if rule else []
    chosen += [entry.row_number.in_([number - 1 for number in rows])] if rows else []
    with engine.begin() as connection:
        batches = select(ingest_batches.c.batch_id).where(ingest_batches.c.batch_id == batch_id)
        if connection.execute(batches).first() is None:
            raise TailorbirdError(f"There is no batch {batch_id!r}; `tailorbird quarantine list` lists them.")
        closed = {"replayed_at": func.now(), "outcome": "dismissed"}
        count = connection.execute(update(quarantine).where(*chosen).values(closed)).rowcount
        remaining = select(func.count()).where(entry.batch_id == batch_id, entry.replayed_at.is_(None))
        waiting = int(connection.execute(remaining).scalar_one())
        if count:
            detail = {"rows": count, "rule": rule, "row_numbers": list(rows)}
            record = {"action": "dismiss", "subject": batch_id, "actor": actor, "reason": reason, "detail": detail}
            connection.execute(insert(audit_log).values(record))
    return {"batch_id": batch_id, "dismissed": count, "waiting": waiting}
