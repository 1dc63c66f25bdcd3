"""Gives quarantined events another try, after a rule, the mapping or the catalogue was mended."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from sqlalchemy import Connection, func, select, update

from infra.database.schema.schema import ingest_batches, ingest_chunks, quarantine
from infra.installation import Installation, current
from infra.locks import advisory_locks
from models import columns
from models.errors import TailorbirdError
from models.ingest.canonical_schema import EVENTS
from models.ingest.source_config import SourceMapping
from models.ingest.tabular import transform
from models.ingest.tabular.config import Mapping
from models.ingest.tabular.unreadable_cells import CELL, CELLS, KEYS
from models.ingest.tabular.values import translated
from models.ingest.traffic_filter import MARKS
from models.primitives.arrow_sql import query, texts
from tasks.ingest import ledger
from tasks.ingest.entity_updates import apply, consent
from tasks.ingest.events.chunk_writer import LATE, Intake
from tasks.ingest.events.event_batch import told
from tasks.ingest.events.open_intake import open_intake
from tasks.ingest.reference.ingest_items import ingest_items
from tasks.ingest.reference.ingest_users import ingest_users
from tasks.ingest.undo import events as undo_events
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.event_enrichment import PAYLOAD_COLUMNS, add_fingerprints
from tasks.orchestration.defects import without_values
from tasks.sources.mapping_files import read

_TABLES: Final = {"items": ingest_items, "users": ingest_users}
_READ: Final[dict[pa.DataType, Callable[[Any], Any]]] = {
    EVENTS.field(columns.OCCURRED_AT).type: datetime.fromisoformat,
    pa.float64(): float,
}
"""How to read what JSON holds as text: a time, or an infinite number."""


def _schema() -> pa.Schema:
    """A canonical event as it waits in quarantine: under its user's key, with its marks and its number."""
    kinds = {field.name: field.type for field in EVENTS} | {columns.USER_KEY: pa.string()}
    kept = [(name, kinds[name]) for name in (*PAYLOAD_COLUMNS, columns.CONSENT, columns.RECEIVED_AT)]
    marks = [(name, pa.bool_()) for name in MARKS]
    return pa.schema([*kept, *marks, (KEYS, pa.string()), (CELLS, pa.list_(CELL)), (columns.ROW, pa.int64())])


def _waiting(connection: Connection, batch_id: str) -> pa.Table:
    """The events of a batch that wait; unreadable lines stay, since only where they are was kept."""
    mine = (quarantine.c.batch_id == batch_id, quarantine.c.replayed_at.is_(None))
    found = connection.execute(select(quarantine.c.row_number, quarantine.c.payload).where(*mine)).all()
    return quarantined_events((number, payload) for number, payload in found if columns.PAYLOAD_HASH in payload)


def quarantined_events(payloads: Iterable[tuple[int, dict[str, Any]]]) -> pa.Table:
    """Quarantined events as a table, in order of their numbers."""
    rows = [dict.fromkeys(MARKS, False) | _unread(payload) | {columns.ROW: number} for number, payload in payloads]
    schema = _schema()
    read = {field.name: _READ[field.type] for field in schema if field.type in _READ}
    for row in rows:
        row |= {name: said(row[name]) for name, said in read.items() if row.get(name) is not None}
    return pa.Table.from_pylist(rows, schema).sort_by(columns.ROW)


def _unread(payload: dict[str, Any]) -> dict[str, Any]:
    """A payload with the names of its unreadable cells: what was not read then is not read by a replay."""
    cells = payload.get(CELLS)
    return payload | {KEYS: f"|{'|'.join(cell['key'] for cell in cells)}|"} if cells else payload


def _mended(rows: pa.Table, mapping: SourceMapping) -> pa.Table:
    """The events as the mapping reads them now."""
    part = mapping.events if isinstance(mapping, Mapping) else None
    if part is not None and part.event_types:
        place = rows.schema.get_field_index(columns.EVENT_TYPE)
        kinds = translated(rows[columns.EVENT_TYPE].combine_chunks(), part.event_types)
        rows = rows.set_column(place, columns.EVENT_TYPE, kinds)
    if part is not None and part.event_id is None:
        rows = transform.identified(rows)
    return add_fingerprints(rows)


def _batch(installation: Installation, batch_id: str) -> dict[str, Any]:
    with installation.engine.connect() as connection:
        mine = ingest_batches.c.batch_id == batch_id
        row = connection.execute(select(ingest_batches).where(mine)).mappings().first()
    if row is None or row["status"] != ledger.COMMITTED:
        raise TailorbirdError(f"There is no ingested batch {batch_id!r}; `tailorbird ledger` lists them.")
    return dict(row)


@task(description="Try the quarantined rows of a batch again.")
@without_values
def replay_quarantine(batch_id: str, accept_unknown_items: bool = False) -> dict[str, Any]:
    """Let a batch's quarantined events through that keep the rules now; returns its line in the ledger.

    What moves is taken off `quarantined` and added to `accepted` (or to `duplicate`, when the lake has it by now), so
    the ledger adds up as before. Events of who has withdrawn or is suppressed stay where they are.

    A table of items or users is read from its file again, by the mapping as it is now: what keeps the rules now comes
    in as another batch, and resolves the rows of this one.
    """
    installation = current()
    known = _batch(installation, batch_id)
    asked = known["request"]
    if known["dataset"] in _TABLES:
        again = _TABLES[known["dataset"]]
        return again.fn(asked.get("mapping", known["source"]), known["location"], asked.get("overrides"))
    mapping = read(asked.get("mapping", known["source"]), asked.get("overrides"))
    if accept_unknown_items:
        mapping = mapping.model_copy(update={"unknown_items": "accept"})
    batch = ledger.Batch(batch_id, known["dataset"], known["source"], known["location"], known["consent"], asked)
    with (
        advisory_locks.locked(installation.engine, batch_id),
        advisory_locks.locked(installation.engine, "the lake's events", wait=True) as confirm,
    ):
        with installation.engine.connect() as connection:
            undoing = ledger.undoing(connection)
        for other in undoing:
            undo_events.finish(installation, other)
        _replay(open_intake(installation, mapping, batch, confirm))
    return told(installation, batch_id)


def _replay(intake: Intake) -> None:
    installation, batch_id = intake.installation, intake.batch.batch_id
    with installation.engine.connect() as connection:
        rows = _waiting(connection, batch_id)
        newest = select(func.max(ingest_chunks.c.chunk)).where(ingest_chunks.c.batch_id == batch_id)
        recorded: int = connection.execute(newest).scalar_one()
        refused = consent.answers_of(connection, rows[columns.USER_KEY], batch_id).refused
    unwelcome = pa.concat_arrays([intake.suppressed, refused])
    rows = _mended(rows.filter(pc.invert(pc.is_in(rows[columns.USER_KEY], value_set=unwelcome))), intake.mapping)
    catalogue = None if intake.mapping.accepts_unknown_items else intake.catalogue
    events = row_triage.annotate(rows, catalogue, intake.now.timestamp())
    elsewhere = pc.is_in(events[columns.ITEM_ID], value_set=intake.routed).to_numpy()
    done = row_triage.triage_events(events, intake.rules, np.zeros(len(events), bool), elsewhere, intake.known)
    passed = rows.filter(pc.invert(pc.is_in(rows[columns.ROW], value_set=_numbers(done.quarantined))))
    if not len(passed):
        return
    chunk = max(recorded, installation.lake.committed_chunk(batch_id)) + 1
    arrived = _arrived(installation, batch_id, passed) if chunk > recorded + 1 else 0
    # The lake first: cut short here, the next replay finds these events in the lake and counts them as arrived.
    accepted = intake.for_lake(done.accepted)
    intake.append(accepted, chunk)
    counts = done.counts | {"read": 0, "quarantined": -len(passed)}
    counts |= {"accepted": counts["accepted"] + arrived, "duplicate": counts["duplicate"] - arrived}
    with installation.engine.begin() as connection:
        found = {**counts, LATE: int(pc.sum(accepted[LATE]).as_py() or 0)}
        ledger.record_chunk(connection, batch_id, chunk, counts, found)
        apply.stage(connection, batch_id, chunk, intake.newly_seen(passed))
        apply.apply(connection, batch_id)
        mine = (quarantine.c.batch_id == batch_id, quarantine.c.row_number.in_(_numbers(passed).to_pylist()))
        connection.execute(update(quarantine).where(*mine).values(replayed_at=func.now(), outcome="replayed"))
        ledger.close_batch(connection, batch_id, None)


def _numbers(rows: pa.Table) -> pa.Array:
    return rows[columns.ROW].combine_chunks()


def _arrived(installation: Installation, batch_id: str, rows: pa.Table) -> int:
    """How many of the rows a replay that was cut short has brought into the lake already."""
    statement = f"""
        SELECT count(*) AS rows FROM read_parquet({texts(installation.lake.event_files())})
        SEMI JOIN rows USING (event_id) WHERE batch_id = {texts([batch_id])}[1]
    """
    return int(query(statement, rows=rows)["rows"][0].as_py())
