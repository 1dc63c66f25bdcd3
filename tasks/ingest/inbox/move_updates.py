"""Moves messages about items and users: one transaction applies a batch and its line in the ledger."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from infra import locks
from infra.configuration.value_checks import words
from infra.installation import Installation
from models import columns
from tasks.ingest import ledger
from tasks.ingest.inbox.entity_statements import EntityStatements
from tasks.ingest.inbox.finish_batch import finish_batch
from tasks.ingest.inbox.rows import InboxRow, claimed_rows, repeat_late_exclusions, unusable
from tasks.ingest.rows import apply, consent
from tasks.ingest.rows.quarantine import store_quarantined
from tasks.ingest.validation import batch_profile

_UNANSWERED: Final = """
    SELECT key FROM unnest(CAST(:keys AS text[])) AS key
    WHERE EXISTS (SELECT FROM suppressions WHERE user_key = key)
        OR NOT EXISTS (SELECT FROM users WHERE user_key = key AND consent)"""
_SUPPRESSED: Final = "SELECT user_key FROM suppressions WHERE user_key = ANY(:keys)"


class _Sorted(NamedTuple):
    statements: EntityStatements
    faults: dict[int, str]
    """By the position of a row."""
    suppressed: int
    """Rows about users who are suppressed, or whose traits are stated without consent."""


def move_updates(installation: Installation, batch: ledger.Batch) -> None:
    """Apply the messages of a batch, once. Raises LockHeldError if another process moves it now."""
    with locks.locked(installation.engine, batch.batch_id, purpose="inbox"):
        with installation.engine.connect() as connection:
            rows = claimed_rows(connection, batch.batch_id, installation.key)
            status = ledger.statuses(connection, [batch.batch_id]).get(batch.batch_id)
        if not rows or status == ledger.COMMITTED:  # another process has moved it, and its rows are empty now
            return
        with installation.engine.begin() as connection:
            apply.lock_entities(connection)
            ledger.open_batch(connection, batch)
            _record(connection, batch, rows, _sorted_rows(connection, installation, rows))
            agreements = consent.agreed_after(installation, apply.refusals(connection, batch.batch_id))
            apply.agree(connection, batch.batch_id, agreements)
            apply.apply(connection, batch.batch_id)
            repeat_late_exclusions(connection, rows)
            ledger.close_batch(connection, batch.batch_id, [])
            finish_batch(connection, batch.batch_id)


def _sorted_rows(connection: Connection, installation: Installation, rows: Sequence[InboxRow]) -> _Sorted:
    allowed = words(installation.settings.user_traits)
    keys = {"keys": sorted({row.user_key for row in rows if row.user_key})}
    gone = set(connection.execute(text(_SUPPRESSED), keys).scalars())
    unanswered = set(connection.execute(text(_UNANSWERED), keys).scalars())
    sorted_rows, faults, suppressed = EntityStatements(), {}, 0
    for place, row in enumerate(rows):
        if row.user_key in gone or (row.kind == "user" and row.consent is None and row.user_key in unanswered):
            suppressed += 1
            continue
        fault = sorted_rows.add_item(row) if row.kind == "item" else sorted_rows.add_user(row, allowed)
        if fault:
            faults[place] = fault
        elif row.consent:
            unanswered.discard(row.user_key or "")
    return _Sorted(sorted_rows, faults, suppressed)


def _record(connection: Connection, batch: ledger.Batch, rows: Sequence[InboxRow], result: _Sorted) -> None:
    """Stage the updates of a batch, and record its rows: usable ones are routed, because they are no events."""
    bad = unusable(rows, result.faults, result.faults)
    apply.stage(connection, batch.batch_id, 0, result.statements.updates())
    new = store_quarantined(connection, batch.source, {(batch.batch_id, 0): [bad]}).get(batch.batch_id, 0)
    counts = dict.fromkeys(columns.LEDGER, 0)
    counts |= {"read": len(rows), "quarantined": new, "duplicate": len(bad) - new, "suppressed": result.suppressed}
    counts["routed"] = len(rows) - len(bad) - result.suppressed
    ledger.record_chunk(connection, batch.batch_id, 0, counts, batch_profile.of_quarantined(bad))
