"""Reads the ledger and the quarantine."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from sqlalchemy import BigInteger, Connection, Engine, RowMapping, func, select, true
from sqlalchemy import cast as sql_cast

from infra.database.schema.ledger_schema import audit_log
from infra.database.schema.schema import LEDGER, ingest_batches, ingest_chunks, quarantine
from infra.overview.corrections import corrections
from models.errors import TailorbirdError
from models.ingest.check.file_names import file_name
from models.monitoring.guidance.situation import Correction
from models.primitives.json_types import JsonObject

_NONE: Final[JsonObject] = {"rows": 0, "rules": {}}


def ledger(engine: Engine, limit: int = 50, source: str | None = None) -> list[JsonObject]:
    """Return the newest batches of all sources or of one: the counts of their rows and the changes by people."""
    entry = ingest_batches.c
    names = ("batch_id", "source", "dataset", "status", "location", "started_at", *LEDGER, "late", "consent", "detail")
    newest = select(*(entry[name] for name in names)).order_by(entry.started_at.desc(), entry.location.desc())
    of_source = entry.source == source if source else true()
    with engine.connect() as connection:
        rows = [_with_file(row) for row in connection.execute(newest.where(of_source).limit(limit)).mappings()]
        changes = _changes(connection, [row["batch_id"] for row in rows])
    return [row | {"changes": changes.get(row["batch_id"], [])} for row in rows]


def batch(engine: Engine, batch_id: str) -> JsonObject:
    """Return the whole record of one batch: origin, counts of rows, corrected values, and changes by people.

    `rules` counts the rows that broke each rule when they were read, `waiting` the rows in quarantine now.
    Raises TailorbirdError for an unknown batch.
    """
    query = select(ingest_batches).where(ingest_batches.c.batch_id == batch_id)
    with engine.connect() as connection:
        entry = connection.execute(query).mappings().first()
        if entry is None:
            raise TailorbirdError(f"There is no batch {batch_id!r}; `tailorbird ledger` lists them.")
        summed: JsonObject = {name: _summed(connection, batch_id, name) for name in ("rules", "cleaned")}
        summed["changes"] = _changes(connection, [batch_id]).get(batch_id, [])
    waiting_rows = next((row for row in quarantined(engine) if row["batch_id"] == batch_id), None)
    summed["waiting"] = {name: waiting_rows[name] for name in ("rows", "rules")} if waiting_rows else _NONE
    failed = [finding["rule_id"] for finding in entry["quality"] or [] if not finding["passed"]]
    fields = {name: value for name, value in entry.items() if name not in ("quality", "batch_id")}
    return (
        {"batch_id": batch_id, "file": file_name(entry["location"])} | fields | summed | {"broken_expectations": failed}
    )


def _with_file(row: RowMapping) -> JsonObject:
    """Return a row with the name of its file in place of its location."""
    return {name: value for name, value in row.items() if name != "location"} | {"file": file_name(row["location"])}


def _changes(connection: Connection, batches: Sequence[str]) -> dict[str, list[JsonObject]]:
    """Return the undos and dismissals by batch, in order."""
    entry = audit_log.c
    query = select(entry.subject, entry.at, entry.action, entry.actor, entry.reason).where(
        entry.subject.in_(batches), entry.action.in_(("undo", "dismiss"))
    )
    changes: dict[str, list[JsonObject]] = {}
    for row in connection.execute(query.order_by(entry.entry_id)).mappings():
        change = dict(row)
        changes.setdefault(change.pop("subject"), []).append(change)
    return changes


def _summed(connection: Connection, batch_id: str, name: str) -> dict[str, int]:
    """Return the sums of one kind of counts over the chunks of a batch."""
    counted = func.jsonb_each_text(ingest_chunks.c.profile[name]).table_valued("key", "value").render_derived()
    total = func.sum(sql_cast(counted.c.value, BigInteger))
    rows = select(counted.c.key, total).select_from(ingest_chunks.join(counted, true()))
    query = rows.where(ingest_chunks.c.batch_id == batch_id).group_by(counted.c.key).order_by(total.desc())
    return {key: int(value) for key, value in connection.execute(query)}


def quarantined(engine: Engine) -> list[JsonObject]:
    """Return the number of rows in quarantine by batch: all of them, and by rule.

    A row that broke two rules counts once among the rows, and once for each rule.
    """
    entry, names = quarantine.c, (ingest_batches.c.source, ingest_batches.c.dataset, ingest_batches.c.location)
    waiting = entry.replayed_at.is_(None)
    rule = select(entry.batch_id, func.unnest(entry.rule_ids).label("rule_id")).where(waiting).subquery()
    by_rule = select(rule.c.batch_id, rule.c.rule_id, func.count()).group_by(rule.c.batch_id, rule.c.rule_id)
    by_batch = (
        select(entry.batch_id, *names, func.count().label("rows"))
        .join(ingest_batches, ingest_batches.c.batch_id == entry.batch_id)
        .where(waiting)
        .group_by(entry.batch_id, *names)
        .order_by(func.count().desc(), entry.batch_id)
    )
    with engine.connect() as connection:
        batches = {row["batch_id"]: _with_file(row) | {"rules": {}} for row in connection.execute(by_batch).mappings()}
        for batch_id, rule_id, count in connection.execute(by_rule.order_by(func.count().desc(), rule.c.rule_id)):
            batches[batch_id]["rules"][rule_id] = count
    return list(batches.values())


def waiting(engine: Engine, batch_id: str) -> int:
    """Return the number of rows of a batch in quarantine. Raises TailorbirdError for an unknown batch."""
    conditions = quarantine.c.batch_id == batch_id, quarantine.c.replayed_at.is_(None)
    with engine.connect() as connection:
        count: int = connection.execute(select(func.count(quarantine.c.row_number)).where(*conditions)).scalar_one()
    if not count:
        batch(engine, batch_id)  # raises TailorbirdError for an unknown batch
    return count


def require_rule(engine: Engine, batch_id: str, rule: str) -> None:
    """Raise TailorbirdError with the nearest rule if no row of the batch broke this one."""
    found = batch(engine, batch_id)
    rules = {*found["rules"], *found["waiting"]["rules"]}
    if rule not in rules:
        near = get_close_matches(rule, sorted(rules), n=1, cutoff=0.0)
        nearest = f"the nearest rule that rows broke is {near[0]!r}" if near else "its rows broke no rule"
        raise TailorbirdError(f"No row of batch {batch_id!r} broke the rule {rule!r}; {nearest}.")


def correction(engine: Engine, batch_id: str) -> Correction | None:
    """Return the correction for rows of a batch that wait because of earlier values; None if there are none."""
    with engine.connect() as connection:
        return corrections(connection, [batch_id]).get(batch_id)


def quarantined_rows(engine: Engine, batch_id: str, rule_id: str | None = None, limit: int = 20) -> list[JsonObject]:
    """Return rows of a batch in quarantine, in the order of the file and numbered from 1.

    Raises TailorbirdError for an unknown batch.
    """
    entry = quarantine.c
    query = select(entry.row_number, entry.rule_ids, entry.payload).where(
        entry.batch_id == batch_id, entry.replayed_at.is_(None)
    )
    if rule_id:
        query = query.where(entry.rule_ids.any(rule_id))
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(entry.row_number).limit(limit)).mappings().all()
    if not rows:
        batch(engine, batch_id)  # raises TailorbirdError for an unknown batch
    return [{**row, "row_number": row["row_number"] + 1} for row in rows]
