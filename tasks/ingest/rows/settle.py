"""Removes what interrupted or refused batches left, and finishes interrupted undos, before another changes the lake.

An undo moves the events that other batches repeat to the first of these.
"""

from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final, TypedDict

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Row, delete, func, select, text

from infra import locks
from infra.database.schema.ledger_schema import audit_log, ingest_applications, ingest_repeats
from infra.database.schema.schema import LEDGER, identities, ingest_batches, users
from infra.installation import Installation, current
from infra.keys.trust import KeyRotatingError
from models import columns
from models.primitives.arrow_sql import connected, literal, query, texts
from tasks.ingest import ledger
from tasks.ingest.rows.quarantine import REPEATED_COLUMNS, read_repeats, unmark_resolved
from tasks.quality.chunk_profile import with_counts

_CUT_SHORT: Final = "It was cut short, and nothing of it counts. Ingest the same file again, or undo it."
UNDO: Final = "undo"
HOLDER: Final = "holder"
_LAKE: Final = f"read_parquet({{files}}, union_by_name = true, hive_types = {{'{columns.MONTH}': VARCHAR}})"
_MOVED: Final = pa.schema(
    [
        (columns.EVENT_ID, pa.string()),
        (columns.USER_KEY, pa.string()),
        (HOLDER, pa.string()),
        *((columns.RECEIVED_AT, pa.timestamp("us", tz="UTC")), (columns.CONSENT, pa.bool_()), ("late", pa.bool_())),
    ]
)
_FIRST_HELD: Final = f"""
    SELECT own.{columns.EVENT_ID}, any_value(own.{columns.USER_KEY}) AS {columns.USER_KEY}, {{holder}} AS {HOLDER},
        {", ".join(f"arg_min(repeated.{name}, row_number) AS {name}" for name in REPEATED_COLUMNS[1:])}
    FROM (SELECT *, row_number() OVER () AS row_number FROM repeated) AS repeated JOIN own USING ({columns.EVENT_ID})
    ANTI JOIN moved USING ({columns.EVENT_ID}) GROUP BY 1"""
# Quarantined rows that another batch repeats move to that batch.
_ROWS_MOVED: Final = """
    WITH repeated AS (
        SELECT DISTINCT ON (entry.content) entry.content, other.batch_id, other.row_number, other.chunk
        FROM quarantine AS entry JOIN quarantine_repeats AS other USING (content)
        JOIN ingest_batches AS batch ON batch.batch_id = other.batch_id AND batch.status = 'committed'
        WHERE entry.batch_id = :batch_id AND other.batch_id <> :batch_id
        ORDER BY entry.content, batch.started_at, other.batch_id, other.row_number
    ), moved AS (
        UPDATE quarantine SET batch_id = repeated.batch_id, row_number = repeated.row_number, chunk = repeated.chunk,
            replayed_at = NULL, resolved_by = NULL, outcome = NULL
        FROM repeated WHERE quarantine.content = repeated.content AND quarantine.batch_id = :batch_id
        RETURNING quarantine.batch_id
    ) SELECT batch_id, count(*) FROM moved GROUP BY batch_id"""
_REOPENED: Final = """
    UPDATE quarantine SET replayed_at = CASE WHEN outcome = 'resolved' THEN NULL ELSE replayed_at END,
        outcome = nullif(outcome, 'resolved'), resolved_by = NULL
    WHERE resolved_by = :batch_id"""


def settle_idle() -> None:
    """Clean up interrupted runs, unless another run holds the lake's events and so cleans up itself.

    Call it after an ingest, because an ingest without new events has not cleaned up before.
    """
    installation = current()
    with installation.engine.connect() as connection:
        due = ledger.interrupted(connection, "") or ledger.undoing(connection)
        connection.rollback()  # and with it the locks
    if due:
        with (
            suppress(locks.LockHeldError, KeyRotatingError),
            locks.locked(installation.engine, "the lake's events"),
        ):
            settle(installation)


def settle(installation: Installation, batch_id: str = "") -> None:
    """Remove the rows of other interrupted batches, because the repeats of a batch refused later would be lost.

    Call it under the lock of the lake's events. A run that lost the database, and so its lock, may still write this
    batch to the lake: that write fails from here on.
    """
    with installation.engine.connect() as connection:
        others, recorded = ledger.unfinished(connection, batch_id), ledger.last_recorded_chunk(connection, batch_id)
        undoing = ledger.undoing(connection)
    stored = installation.lake.committed_chunk(batch_id)
    if recorded > stored:
        installation.lake.claim(batch_id, stored)
    # The lake first: after an interruption here the other batches start again and replace their PostgreSQL rows.
    installation.lake.remove_batch(*others)
    with installation.engine.begin() as connection:
        remove_rows(connection, *others)
    with installation.engine.begin() as connection:
        for other in ledger.interrupted(connection, batch_id):
            if undone := latest_undo(connection, other):
                ledger.set_status(connection, other, ledger.UNDONE, detail_of(undone))
            else:
                ledger.set_status(connection, other, ledger.PENDING, _CUT_SHORT)
    for other in undoing:
        finish(installation, other)


def remove_rows(connection: Connection, *batch_ids: str) -> None:
    """Remove the rows and the new users of batches that do not count, except refusals that an undo left there."""
    introduced = (users.c.batch_id.in_(batch_ids), users.c.refused_at.is_(None))
    keys = select(users.c.user_key).where(*introduced)
    connection.execute(delete(identities).where(identities.c.user_key.in_(keys)))
    connection.execute(delete(users).where(*introduced))
    unmark_resolved(connection, *batch_ids)
    ledger.delete_chunks(connection, *batch_ids)


class UndoDetail(TypedDict, total=False):
    """The counts of an undo, as the audit log stores them."""

    events_removed: int
    events_kept: int
    quarantined_removed: int
    items_removed: int
    items_changed: int
    users_removed: int
    users_changed: int
    refusals_kept: int
    moved: dict[str, int]
    """Events that moved to other batches, by batch."""
    applied_at: str | None
    """The time from which the batch counted."""


def users_of(installation: Installation, batch_id: str) -> pa.Table:
    """Return the users of a batch's events in the lake, with the number of their events."""
    statement = f"""
        SELECT {columns.USER_KEY}, count(*) AS events FROM {{lake}} WHERE batch_id = {literal(batch_id)} GROUP BY 1"""
    return _lake(installation, statement, [columns.USER_KEY, "events"])


def introductions(installation: Installation, keys: pa.Table, gone: Collection[str]) -> pa.Table:
    """Return which other batches have events of these users: pairs of batch and user."""
    statement = f"""
        SELECT DISTINCT {columns.BATCH_ID}, {columns.USER_KEY} FROM {{lake}} SEMI JOIN keys USING ({columns.USER_KEY})
        WHERE batch_id NOT IN (SELECT unnest({texts(gone)}))"""
    return _lake(installation, statement, [columns.BATCH_ID, columns.USER_KEY], keys=keys)


def repeated_elsewhere(
    installation: Installation, connection: Connection, batch_id: str, gone: Collection[str]
) -> pa.Table:
    """Return the events of a batch that others repeat, with the first of those batches as their `holder`."""
    moved, others = _MOVED.empty_table(), _repeating(connection, gone)
    if not others:
        return moved
    names = f"{columns.EVENT_ID}, {columns.USER_KEY}"
    own = _lake(installation, f"SELECT {names} FROM {{lake}} WHERE batch_id = {literal(batch_id)}", names.split(", "))
    with connected() as run:
        for other in others if len(own) else ():
            for _, repeated in read_repeats(connection, other):
                statement = _FIRST_HELD.format(holder=literal(other))
                held = run(statement, own=own, moved=moved, repeated=repeated)
                moved = pa.concat_tables([moved, held.select(_MOVED.names).cast(_MOVED)])
    return moved


def latest_undo(connection: Connection, batch_id: str) -> Row[Any] | None:
    """Return the line of the last undo of a batch in the audit log; None if it was never undone."""
    undos = (audit_log.c.action == UNDO, audit_log.c.subject == batch_id)
    return connection.execute(select(audit_log).where(*undos).order_by(audit_log.c.entry_id.desc()).limit(1)).first()


def detail_of(undo: Row[Any]) -> str:
    """Return the ledger's remark on an undone batch."""
    return f"Undone by {undo.actor}: {undo.reason}. The same file can be ingested again."


def finish(installation: Installation, batch_id: str) -> None:
    """Remove the events of a batch that no longer counts, and close its line in the ledger.

    Call it under the lock of the lake's events. After an interruption it continues where it stopped.
    """
    with installation.engine.connect() as connection:
        entry = latest_undo(connection, batch_id)
        assert entry is not None
        moved = repeated_elsewhere(installation, connection, batch_id, {batch_id})
        sources = dict(connection.execute(select(ingest_batches.c.batch_id, ingest_batches.c.source)).all())
    for number, holder in enumerate(sorted(entry.detail["moved"])):
        events = moved.filter(pc.equal(moved[HOLDER], holder))
        if len(events):
            _append(installation, batch_id, holder, sources[holder], events, f"undo {entry.entry_id}", number)
    installation.lake.remove_batch(batch_id)
    with installation.engine.begin() as connection:
        _close(connection, batch_id, entry)


def _append(
    installation: Installation, batch_id: str, holder: str, source: str, moved: pa.Table, mark: str, number: int
) -> None:
    """Store events again as those of another batch, once; the replaced rows no longer count."""
    changed = {columns.BATCH_ID: literal(holder), columns.SOURCE: literal(source)}
    changed |= {name: f"moved.{name}" for name in REPEATED_COLUMNS[1:]}
    replaced = ", ".join(f"{value} AS {name}" for name, value in changed.items())
    statement = f"""
        SELECT lake.* REPLACE ({replaced}) FROM {{lake}} AS lake JOIN moved USING ({columns.EVENT_ID})
        WHERE lake.batch_id = {literal(batch_id)}"""
    table = installation.lake.events()
    assert table is not None
    schema = pa.schema(table.schema())
    rows = _lake(installation, statement, schema.names, moved=moved)
    installation.lake.append_events(rows.select(schema.names).cast(schema), mark, number)


def _close(connection: Connection, batch_id: str, undo: Row[Any]) -> None:
    """Move repeated rows to other batches in the ledger, and close the line of this batch."""
    rows_moved = connection.execute(text(_ROWS_MOVED), {"batch_id": batch_id})
    waiting: dict[str, int] = dict(map(tuple, rows_moved))
    moved = undo.detail["moved"]
    for other in sorted({*waiting, *moved}):
        accepted, quarantined = moved.get(other, 0), waiting.get(other, 0)
        counts = dict.fromkeys(LEDGER, 0) | {"accepted": accepted, "quarantined": quarantined}
        counts["duplicate"] = -accepted - quarantined
        number = ledger.last_recorded_chunk(connection, other) + 1
        ledger.record_chunks(connection, ledger.ChunkEntry(other, number, counts, with_counts({}, counts)))
        ledger.close_batch(connection, other, None, new=False)  # the lake had these events before
    ledger.delete_chunks(connection, batch_id)
    connection.execute(text(_REOPENED), {"batch_id": batch_id})
    ledger.set_status(connection, batch_id, ledger.UNDONE, detail_of(undo))


def _repeating(connection: Connection, gone: Collection[str]) -> list[str]:
    """Return the committed batches that repeat events, in the order of their ingest."""
    first = func.min(ingest_applications.c.application_id)
    rows = (
        select(ingest_batches.c.batch_id)
        .join(ingest_applications)
        .where(
            ingest_batches.c.status == ledger.COMMITTED,
            ingest_batches.c.batch_id.not_in(gone),
            ingest_batches.c.batch_id.in_(select(ingest_repeats.c.batch_id)),
        )
    )
    return list(connection.execute(rows.group_by(ingest_batches.c.batch_id).order_by(first)).scalars())


def _lake(installation: Installation, statement: str, names: Collection[str], **tables: pa.Table) -> pa.Table:
    """Run a statement on the events of the lake; without events it returns no rows of the named columns."""
    files = installation.lake.event_files()
    if not files:
        return pa.table({name: pa.array([], pa.int64() if name == "events" else pa.string()) for name in names})
    return query(statement.replace("{lake}", _LAKE.replace("{files}", texts(files))), **tables)
