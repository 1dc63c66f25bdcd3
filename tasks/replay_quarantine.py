"""Gives quarantined events another try, after a rule, the mapping or the catalogue was mended."""

from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from sqlalchemy import Connection, func, select, update

from expectations import events as promises
from infra.installation import Installation, current
from infra.schema import ingest_batches, ingest_chunks, quarantine
from models import columns
from models.errors import TailorbirdError
from models.shapes.shaped import EVENTS
from models.sql import query, texts
from tasks import ledger, sift
from tasks.intake import Intake, Policy, open_intake

_TEXTS = (columns.USER_KEY, columns.PAYLOAD_HASH)


def _schema() -> pa.Schema:
    """A canonical event as it waits in quarantine: with its user's key and its hash, and its number."""
    kept = [f for f in EVENTS if f.name not in {"row_number", "anonymous_id", columns.USER_ID, columns.CONSENT}]
    return pa.schema([pa.field(name, pa.string()) for name in _TEXTS] + kept + [pa.field(sift.ROW, pa.int64())])


def _waiting(connection: Connection, batch_id: str) -> pa.Table:
    """The events of a batch that wait; unreadable lines stay, since only where they are was kept."""
    mine = (quarantine.c.batch_id == batch_id, quarantine.c.replayed_at.is_(None))
    found = connection.execute(select(quarantine.c.row_number, quarantine.c.payload).where(*mine)).all()
    rows = [payload | {sift.ROW: number} for number, payload in found if columns.PAYLOAD_HASH in payload]
    for row in rows:
        for name in (columns.OCCURRED_AT, columns.RECEIVED_AT):
            row[name] = datetime.fromisoformat(row[name]) if row.get(name) else None
    return pa.Table.from_pylist(rows, _schema()).sort_by(sift.ROW)


def _batch(here: Installation, batch_id: str) -> dict[str, Any]:
    with here.engine.connect() as connection:
        mine = ingest_batches.c.batch_id == batch_id
        row = connection.execute(select(ingest_batches).where(mine)).mappings().first()
    if row is None or row["status"] != ledger.COMMITTED or row["dataset"] != "events":
        raise TailorbirdError(f"There is no ingested batch of events {batch_id!r}; `tailorbird ledger` lists them.")
    return dict(row)


@task(description="Try the quarantined events of a batch again.")
def replay_quarantine(batch_id: str, accept_unknown_items: bool = False) -> dict[str, Any]:
    """Let a batch's quarantined events through that keep the rules now; returns its line in the ledger.

    What moves is taken off `quarantined` and added to `accepted` (or to `duplicate`, when the lake has it by now), so
    the ledger adds up as before. Events of who has withdrawn or is suppressed stay where they are.
    """
    here = current()
    known = _batch(here, batch_id)
    policy = Policy(known["source"], "given", known["consent"], "accept" if accept_unknown_items else "quarantine")
    batch = ledger.Batch(batch_id, known["dataset"], known["source"], known["location"], known["consent"])
    with ledger.hold(here.engine, batch_id), ledger.hold(here.engine, "the lake's events", wait=True):
        _replay(open_intake(here, policy, batch))
        with here.engine.connect() as connection:
            return ledger.entry(connection, batch_id)


def _replay(intake: Intake) -> None:
    here, batch_id = intake.here, intake.batch.batch_id
    with here.engine.connect() as connection:
        rows = _waiting(connection, batch_id)
        newest = select(func.max(ingest_chunks.c.chunk)).where(ingest_chunks.c.batch_id == batch_id)
        recorded: int = connection.execute(newest).scalar_one()
    unwelcome = pa.concat_arrays([intake.suppressed, intake.refused])
    rows = rows.filter(pc.invert(pc.is_in(rows[columns.USER_KEY], value_set=unwelcome)))
    known = intake.known.among(rows)
    done = sift.sift(intake.annotated(rows), promises.RULES, pa.array([], pa.string()), intake.routed, known)
    passed = rows.filter(pc.invert(pc.is_in(rows[sift.ROW], value_set=_numbers(done.quarantined))))
    if not len(passed):
        return
    chunk = max(recorded, here.lake.committed_chunk(batch_id)) + 1
    arrived = _arrived(here, batch_id, passed) if chunk > recorded + 1 else 0
    # The lake first: cut short here, the next replay finds these events in the lake and counts them as arrived.
    here.lake.append_events(intake.for_lake(done.accepted), batch_id, chunk)
    counts = done.counts | {"read": 0, "quarantined": -len(passed)}
    counts |= {"accepted": counts["accepted"] + arrived, "duplicate": counts["duplicate"] - arrived}
    with here.engine.begin() as connection:
        ledger.record_chunk(connection, batch_id, chunk, counts, counts)
        mine = (quarantine.c.batch_id == batch_id, quarantine.c.row_number.in_(_numbers(passed).to_pylist()))
        connection.execute(update(quarantine).where(*mine).values(replayed_at=func.now()))
        ledger.close_batch(connection, batch_id, None)


def _numbers(rows: pa.Table) -> pa.Array:
    return rows[sift.ROW].combine_chunks()


def _arrived(here: Installation, batch_id: str, rows: pa.Table) -> int:
    """How many of the rows a replay that was cut short has brought into the lake already."""
    statement = f"""
        SELECT count(*) AS rows FROM read_parquet({texts(here.lake.event_files())})
        SEMI JOIN rows USING (event_id) WHERE batch_id = {texts([batch_id])}[1]
    """
    return int(query(statement, rows=rows)["rows"][0].as_py())
