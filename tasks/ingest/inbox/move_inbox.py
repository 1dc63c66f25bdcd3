"""Moves the inbox: every message once, in batches that are claimed before anything is written."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

import pyarrow as pa
from prefect import task
from sqlalchemy import Connection, text

from infra import locks
from infra.configuration.value_checks import words
from infra.installation import Installation, current
from infra.locks import LockHeldError
from models import columns
from models.ingest import placeholder_ids
from models.ingest.source_config import LONGEST_ID, SourceMapping
from models.primitives.json_types import JsonObject
from tasks.ingest import ledger
from tasks.ingest.events.ingest_events import ChunkReader, ingest_batch
from tasks.ingest.inbox import call_chunks
from tasks.ingest.inbox.event_chunks import answers_of, read_chunks, store_origins
from tasks.ingest.inbox.finish_batch import finish_batch, refuse_rows, remove_outdated
from tasks.ingest.inbox.messages import (
    Dataset,
    Due,
    InboxRow,
    call_mapping,
    claim,
    claimed,
    claimed_rows,
    inbox_mapping,
    repeat_late_exclusions,
    unusable,
)
from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.rows import apply
from tasks.ingest.rows.apply import CONSENT, ITEM_HISTORY, Update
from tasks.ingest.rows.quarantine import store_quarantined
from tasks.ingest.rows.stated_values import TimedValues, item_update, trait_updates
from tasks.ingest.rows.statements import PERSON, WITHIN
from tasks.ingest.validation import row_triage
from tasks.orchestration.guards import without_values
from tasks.quality.suites import BatchRefusedError

HIDDEN: Final = "hidden"
_UNANSWERED: Final = """
    SELECT key FROM unnest(CAST(:keys AS text[])) AS key
    WHERE EXISTS (SELECT FROM suppressions WHERE user_key = key)
        OR NOT EXISTS (SELECT FROM users WHERE user_key = key AND consent)"""
_SUPPRESSED: Final = "SELECT user_key FROM suppressions WHERE user_key = ANY(:keys)"
NOW: Final = Due()
"""Every waiting row is due."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_price(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


_CHECKS: Final[Mapping[str, Callable[[Any], bool]]] = {
    **dict.fromkeys((columns.TITLE, columns.CATEGORY, columns.BRAND, columns.CURRENCY), _is_text),
    **dict.fromkeys((columns.URL, columns.IMAGE), _is_text),
    columns.PRICE: _is_price,
    **dict.fromkeys((columns.IN_STOCK, HIDDEN), lambda value: isinstance(value, bool)),
}


@dataclass
class EntityStatements:
    """What the messages of a batch state of items and users: of two values of one key the later counts."""

    items: dict[str, TimedValues] = field(default_factory=dict)
    traits: dict[str, dict[str, list[tuple[datetime, str]]]] = field(default_factory=dict)
    answers: dict[str, list[tuple[datetime, bool]]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    """The source of each answer about consent."""
    faults: dict[int, str] = field(default_factory=dict)
    """By the position of an unusable row."""
    suppressed: int = 0
    """Rows about users who are suppressed, or whose traits are stated without consent."""

    def add_item(self, row: InboxRow) -> str | None:
        """Add a statement about an item; returns its fault, or None."""
        payload = row.payload
        item = payload.get(columns.ITEM_ID)
        if not isinstance(item, str) or not item or len(item) > LONGEST_ID or item in placeholder_ids.ITEMS:
            return "the item has no usable id"
        attributes = payload.get(columns.ATTRIBUTES) or {}
        if fault := _fault_of(payload, attributes):
            return fault
        stated = {name: payload[name] for name in _CHECKS if payload.get(name) is not None and name != HIDDEN}
        stated |= {WITHIN + name: value for name, value in attributes.items()}
        if payload.get(HIDDEN) is not None:
            # A hidden item is one whose sale has ended.
            stated[columns.AVAILABLE_UNTIL] = row.received_at.isoformat() if payload[HIDDEN] else None
        own = self.items.setdefault(item, {})
        for name, value in stated.items():
            if name not in own or own[name][0] <= row.received_at:
                own[name] = row.received_at, value
        return None

    def add_user(self, row: InboxRow, allowed: Sequence[str]) -> str | None:
        """Add a statement about a user; returns its fault, or None."""
        if not row.user_key:
            return "the user has no id"
        traits = row.payload.get("traits") or {}
        if not isinstance(traits, dict) or not all(map(_is_text, traits.values())):
            return "a trait is no text"
        if row.consent is not None:
            self.answers.setdefault(row.user_key, []).append((row.received_at, row.consent))
            self.origins[row.user_key] = row.source
        if row.consent is not False:
            own = self.traits.setdefault(row.user_key, {})
            for name in allowed:
                if name in traits:
                    own.setdefault(name, []).append((row.received_at, traits[name]))
            for name in row.payload.get("unset", ()):  # an empty text: the history knows since when
                own.setdefault(name, []).append((row.received_at, ""))
        return None

    def updates(self) -> Iterator[Update]:
        """Yield all updates, each kind and key once."""
        for item, values in sorted(self.items.items()):
            yield item_update(item, values)
            changes = [
                {"name": name, "since": values[name][0].isoformat(), "value": str(values[name][1])}
                for name in columns.CHANGING
                if name in values
            ]
            if changes:
                yield Update(ITEM_HISTORY, item, {"changes": changes}, None)
        for user, answers in sorted(self.answers.items()):
            at, agrees = max(answers, key=lambda answer: (answer[0], not answer[1]))
            refusals = [moment for moment, agreed in answers if not agreed]
            refused_at = max(refusals).isoformat() if refusals else None
            origin = {"source": self.origins[user], "refused_at": refused_at}
            yield Update(CONSENT, user, {columns.CONSENT: agrees, **origin}, at)
            if agrees:
                yield Update(PERSON, user, {}, None)
        for user, traits in sorted(self.traits.items()):
            if traits:
                yield from trait_updates(user, traits)


def _fault_of(payload: JsonObject, attributes: Any) -> str | None:
    wrong = [name for name, check in _CHECKS.items() if payload.get(name) is not None and not check(payload[name])]
    if not isinstance(attributes, dict) or not all(map(_is_text, attributes.values())):
        wrong.append(columns.ATTRIBUTES)
    return f"unusable values: {', '.join(wrong)}" if wrong else None


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
            apply.apply(installation.lake, connection, batch.batch_id)
            repeat_late_exclusions(connection, rows)
            ledger.close_batch(connection, batch.batch_id, [])
            finish_batch(connection, batch.batch_id)


def _sorted_rows(connection: Connection, installation: Installation, rows: Sequence[InboxRow]) -> EntityStatements:
    allowed = words(installation.settings.user_traits)
    keys = {"keys": sorted({row.user_key for row in rows if row.user_key})}
    gone = set(connection.execute(text(_SUPPRESSED), keys).scalars())
    unanswered = set(connection.execute(text(_UNANSWERED), keys).scalars())
    result = EntityStatements()
    for place, row in enumerate(rows):
        if row.user_key in gone or (row.kind == "user" and row.consent is None and row.user_key in unanswered):
            result.suppressed += 1
            continue
        fault = result.add_item(row) if row.kind == "item" else result.add_user(row, allowed)
        if fault:
            result.faults[place] = fault
        elif row.consent:
            unanswered.discard(row.user_key or "")
    return result


def _record(connection: Connection, batch: ledger.Batch, rows: Sequence[InboxRow], result: EntityStatements) -> None:
    """Stage the updates of a batch, and record its rows: usable ones are routed, because they are no events."""
    bad = unusable(rows, result.faults, result.faults)
    apply.stage(connection, {(batch.batch_id, 0): result.updates()})
    new = store_quarantined(connection, batch.source, {(batch.batch_id, 0): [bad]}).get(batch.batch_id, 0)
    counts = dict.fromkeys(columns.LEDGER, 0)
    counts |= {"read": len(rows), "quarantined": new, "duplicate": len(bad) - new, "suppressed": result.suppressed}
    counts["routed"] = len(rows) - len(bad) - result.suppressed
    ledger.record_chunks(connection, ledger.ChunkEntry(batch.batch_id, 0, counts, row_triage.of_quarantined(bad)))


def due_of(installation: Installation) -> Due:
    """Return when acts and impressions become a batch, by the settings."""
    return Due(installation.settings.inbox_seconds, installation.settings.inbox_rows)


def move_inbox(installation: Installation, dataset: Dataset, due: Due, *, wait: bool = False) -> list[str]:
    """Move the rows that an earlier run claimed, then all that are due; returns the batches.

    A batch that another process moves now is left to it, or with `wait` it is also moved when this returns. Raises the
    error of the first batch that failed, after the others were moved: an old batch that fails holds no new rows back,
    but after a new one that fails no more rows are claimed.
    """
    moved: list[str] = []
    errors: list[Exception] = []

    def move(batches: list[ledger.Batch]) -> None:
        for batch in batches:
            try:
                if _is_moved(installation, dataset, batch, wait=wait):
                    moved.append(batch.batch_id)
            except Exception as error:  # a defect in one batch must not hold the others back
                errors.append(error)

    with installation.engine.connect() as connection:
        batches = claimed(connection, dataset)
    move(batches)
    earlier = len(errors)
    while len(errors) == earlier:
        with installation.engine.begin() as connection:
            batches = claim(connection, dataset, due)
        if not batches:
            break
        move(batches)
    with installation.engine.begin() as connection:
        remove_outdated(connection, installation.settings.retention)
    if errors:
        raise errors[0]
    return moved


def move_calls(installation: Installation, batch: ledger.Batch) -> None:
    """Ingest the calls of a batch as `move_events` does."""
    mapping = call_mapping(installation.settings, batch.source)

    def reader(rows: Sequence[InboxRow], _answers: pa.Table) -> ChunkReader:
        return partial(call_chunks.read_chunks, rows, mapping)

    _move(installation, replace(batch, consent=mapping.consent_note), mapping, reader)


def move_events(installation: Installation, batch: ledger.Batch) -> None:
    """Ingest the messages of a batch, or continue where an earlier run stopped; then mark them as moved.

    Raises BatchRefusedError for a batch that was refused, whose rows stay in the inbox, and LockHeldError if another
    process moves it now.
    """
    _move(installation, batch, inbox_mapping(batch.source), lambda rows, answers: partial(read_chunks, rows, answers))


def _move(
    installation: Installation,
    batch: ledger.Batch,
    mapping: SourceMapping,
    reader: Callable[[Sequence[InboxRow], pa.Table], ChunkReader],
) -> None:
    with installation.engine.connect() as connection:
        rows = claimed_rows(connection, batch.batch_id, installation.key)
        committed = ledger.statuses(connection, [batch.batch_id]).get(batch.batch_id) == ledger.COMMITTED
    answers = answers_of(rows)
    if not committed:
        try:
            ingest_batch(installation, mapping, batch, reader(rows, answers), len(rows))
        except BatchRefusedError:
            with installation.engine.begin() as connection:
                refuse_rows(connection, batch.batch_id)
            raise
    with installation.engine.begin() as connection:
        repeat_late_exclusions(connection, rows)
        store_origins(connection, answers)
        finish_batch(connection, batch.batch_id)


_MOVES: Final[dict[Dataset, Callable[[Installation, ledger.Batch], None]]] = {
    "updates": move_updates,
    "events": move_events,
    "calls": move_calls,
}


def _is_moved(installation: Installation, dataset: Dataset, batch: ledger.Batch, *, wait: bool) -> bool:
    """Move a batch; returns False if another process moves it now, unless this may `wait`."""
    while True:
        try:
            _MOVES[dataset](installation, batch)
        except LockHeldError:
            if not wait:
                return False
            with locks.locked(installation.engine, batch.batch_id, wait=True):
                continue  # it has ended, or was killed and this process goes on
        return True


@task(description="Move the waiting messages of the inbox: each is stored, quarantined or counted, once.")
@without_values
def move_waiting() -> list[LedgerEntry]:
    """Move all messages that wait; returns the lines of their batches in the ledger."""
    installation = current()
    datasets: tuple[Dataset, ...] = ("updates", "events", "calls")
    batches = [batch for dataset in datasets for batch in move_inbox(installation, dataset, NOW, wait=True)]
    with installation.engine.connect() as connection:
        lines = ledger.entries(connection, batches)
    return [lines[name] for name in batches if name in lines]
