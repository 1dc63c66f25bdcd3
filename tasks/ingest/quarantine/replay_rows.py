"""Replays quarantined events after a change of a rule, the mapping or the catalogue."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from sqlalchemy import Connection, func, select, update

from infra import locks
from infra.database.schema.schema import ingest_batches, quarantine
from infra.installation import Installation, current
from infra.overview.corrections import corrections
from models import columns
from models.errors import TailorbirdError
from models.ingest.canonical_schema import EVENTS
from models.ingest.source_config import MARKS, SourceMapping
from models.ingest.tabular import transform
from models.ingest.tabular.table_mapping import Mapping
from models.ingest.tabular.unreadable_cells import CELL, CELLS, KEYS
from models.ingest.tabular.values import translated
from models.primitives.arrow_sql import literal, query, texts
from models.primitives.json_types import JsonObject
from tasks.ingest import ledger
from tasks.ingest.events import chunk_writer
from tasks.ingest.events.chunk_writer import LATE
from tasks.ingest.events.classification import BatchContext, RunState, open_context
from tasks.ingest.events.ingest_events import ledger_entry
from tasks.ingest.inbox.messages import mapping_of
from tasks.ingest.ledger import IngestRequest, LedgerEntry
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.ingest.rows import apply, settle
from tasks.ingest.validation import row_triage
from tasks.ingest.validation.event_identity import PAYLOAD_COLUMNS, add_fingerprints
from tasks.orchestration.guards import without_values
from tasks.quality.chunk_profile import with_counts
from tasks.sources.mapping_files import read

_TABLES: Final = {"items": ingest_items, "users": ingest_users}
_PARSERS: Final[dict[pa.DataType, Callable[[Any], Any]]] = {
    EVENTS.field(columns.OCCURRED_AT).type: datetime.fromisoformat,
    pa.float64(): float,
}
"""Parsers of values that JSON holds as texts: times, and infinite numbers."""


class QuarantinedRow(NamedTuple):
    """A row in quarantine, by its number in the file."""

    number: int
    payload: JsonObject


def _schema() -> pa.Schema:
    """Return the columns of a quarantined event: with its user's key, its marks and its number."""
    kinds = {field.name: field.type for field in EVENTS}
    kinds |= dict.fromkeys((columns.USER_KEY, columns.AUTHORITY), pa.string())
    names = (*PAYLOAD_COLUMNS, columns.CONSENT, columns.RECEIVED_AT, columns.AUTHORITY)
    stored = [(name, kinds[name]) for name in names]
    marks = [(name, pa.bool_()) for name in MARKS]
    return pa.schema([*stored, *marks, (KEYS, pa.string()), (CELLS, pa.list_(CELL)), (columns.ROW, pa.int64())])


def _waiting(connection: Connection, batch_id: str) -> pa.Table:
    """Return the quarantined events of a batch, without unreadable lines, whose text is not stored."""
    waiting = (quarantine.c.batch_id == batch_id, quarantine.c.replayed_at.is_(None))
    rows = connection.execute(select(quarantine.c.row_number, quarantine.c.payload).where(*waiting))
    return quarantined_events(QuarantinedRow(*row) for row in rows if columns.PAYLOAD_HASH in row.payload)


def quarantined_events(quarantined: Iterable[QuarantinedRow]) -> pa.Table:
    """Return quarantined events as a table, in order of their numbers."""
    rows = [dict.fromkeys(MARKS, False) | _with_keys(row.payload) | {columns.ROW: row.number} for row in quarantined]
    schema = _schema()
    parsers = {field.name: _PARSERS[field.type] for field in schema if field.type in _PARSERS}
    for row in rows:
        row |= {name: parse(row[name]) for name, parse in parsers.items() if row.get(name) is not None}
    return pa.Table.from_pylist(rows, schema).sort_by(columns.ROW)


def _with_keys(payload: JsonObject) -> JsonObject:
    """Return a payload with the keys of its unreadable cells, which a replay cannot read, either."""
    cells = payload.get(CELLS)
    return payload | {KEYS: f"|{'|'.join(cell['key'] for cell in cells)}|"} if cells else payload


def _reread(rows: pa.Table, mapping: SourceMapping) -> pa.Table:
    """Return the events as the current mapping reads them."""
    part = mapping.events if isinstance(mapping, Mapping) else None
    if part is not None and part.event_types:
        place = rows.schema.get_field_index(columns.EVENT_TYPE)
        kinds = translated(rows[columns.EVENT_TYPE].combine_chunks(), part.event_types)
        rows = rows.set_column(place, columns.EVENT_TYPE, kinds)
    if part is not None and part.event_id is None:
        rows = transform.identified(rows)
    return add_fingerprints(rows)


def _batch(installation: Installation, batch_id: str) -> ledger.Batch:
    with installation.engine.connect() as connection:
        row = connection.execute(select(ingest_batches).where(ingest_batches.c.batch_id == batch_id)).first()
    if row is None or row.status != ledger.COMMITTED:
        raise TailorbirdError(f"There is no ingested batch {batch_id!r}; `tailorbird ledger` lists them.")
    request: IngestRequest = row.request
    return ledger.Batch(batch_id, row.dataset, row.source, row.location, row.consent, request)


@task(description="Replay the quarantined rows of a batch.")
@without_values
def replay_quarantine(batch_id: str, accept_unknown_items: bool = False) -> LedgerEntry:
    """Accept a batch's quarantined events that keep the rules now; returns its line in the ledger.

    They move from `quarantined` to `accepted`, or to `duplicate` if the lake has them by now, so the ledger still adds
    up. Events of users who withdrew or are suppressed stay.

    A table of items or users is read from its file again by the current mapping: rows that keep the rules now become
    another batch, which resolves the rows of this one.
    """
    installation = current()
    batch = _batch(installation, batch_id)
    name, overrides = batch.request.get("mapping", batch.source), batch.request.get("overrides")
    if batch.dataset in _TABLES and "sql" in batch.request:
        raise TailorbirdError(
            f"The rows of {batch_id} are in a database. Correct them there, or the mapping, then read them again: "
            "tailorbird ingest sql … --since VALUE, with a value of the cursor below theirs."
        )
    if batch.dataset in _TABLES:
        return _TABLES[batch.dataset].fn(name, batch.location, overrides)
    mapping = mapping_of(installation.settings, batch) or read(name, overrides)
    if accept_unknown_items:
        mapping = mapping.model_copy(update={"unknown_items": "accept"})
    with (
        locks.locked(installation.engine, batch_id),
        locks.locked(installation.engine, "the lake's events", wait=True) as confirm,
    ):
        with installation.engine.connect() as connection:
            undoing = ledger.undoing(connection)
        for other in undoing:
            settle.finish(installation, other)
        _replay(*open_context(installation, mapping, batch, confirm))
    return ledger_entry(installation, batch_id)


def _replay(context: BatchContext, run: RunState) -> None:
    installation, batch_id = context.installation, context.batch.batch_id
    with installation.engine.connect() as connection:
        rows = _waiting(connection, batch_id)
        recorded = ledger.last_recorded_chunk(connection, batch_id)
        refused = apply.answers_of(connection, rows[columns.USER_KEY], batch_id).refused
    excluded = pa.concat_arrays([context.suppressed, refused])
    rows = _reread(rows.filter(pc.invert(pc.is_in(rows[columns.USER_KEY], value_set=excluded))), context.mapping)
    catalogue = None if context.mapping.accepts_unknown_items else context.catalogue
    events = row_triage.annotate(rows, catalogue, context.now.timestamp())
    routed = pc.is_in(events[columns.ITEM_ID], value_set=context.non_merchandise).to_numpy()
    triaged = row_triage.triage_events(events, context.rules, np.zeros(len(events), bool), routed, run.event_ids)
    passed = rows.filter(pc.invert(pc.is_in(rows[columns.ROW], value_set=_numbers(triaged.quarantined))))
    if not len(passed):
        return
    chunk = max(recorded, installation.lake.committed_chunk(batch_id)) + 1
    stored = _already_stored(installation, batch_id, passed) if chunk > recorded + 1 else 0
    # The lake first: after an interruption here, the next replay finds these events in the lake and counts them.
    accepted = chunk_writer.for_lake(context, triaged.accepted)
    chunk_writer.append(context, accepted, chunk)
    counts = triaged.counts | {"read": 0, "quarantined": -len(passed)}
    counts |= {"accepted": counts["accepted"] + stored, "duplicate": counts["duplicate"] - stored}
    with installation.engine.begin() as connection:
        late, impressions = int(pc.sum(accepted[LATE]).as_py() or 0), row_triage.impressions(accepted)
        profile = with_counts({"late": late, "impressions": impressions}, counts)
        ledger.record_chunks(connection, ledger.ChunkEntry(batch_id, chunk, counts, profile))
        apply.stage(connection, {(batch_id, chunk): chunk_writer.item_updates(context, run, passed)})
        apply.apply(installation.lake, connection, batch_id)
        replayed = (quarantine.c.batch_id == batch_id, quarantine.c.row_number.in_(_numbers(passed).to_pylist()))
        connection.execute(update(quarantine).where(*replayed).values(replayed_at=func.now(), outcome="replayed"))
        ledger.close_batch(connection, batch_id, None)


def _numbers(rows: pa.Table) -> pa.Array:
    return rows[columns.ROW].combine_chunks()


def _already_stored(installation: Installation, batch_id: str, rows: pa.Table) -> int:
    """Return how many of the rows an interrupted replay has stored in the lake."""
    statement = f"""
        SELECT count(*) AS rows FROM read_parquet({texts(installation.lake.event_files())})
        SEMI JOIN rows USING (event_id) WHERE batch_id = {literal(batch_id)}
    """
    return int(query(statement, rows=rows)["rows"][0].as_py())


@without_values
def find_corrections(lines: list[LedgerEntry]) -> list[LedgerEntry]:
    """Return the lines of an ingest; those with such rows get `correction`."""
    fresh = [line["batch_id"] for line in lines if line["status"] == ledger.COMMITTED and line["quarantined"]]
    with current().engine.connect() as connection:
        correction_of = corrections(connection, fresh)
    return [
        line | LedgerEntry(correction=asdict(correction_of[line["batch_id"]]))
        if line["batch_id"] in correction_of
        else line
        for line in lines
    ]
