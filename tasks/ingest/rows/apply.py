"""Applies a batch's updates of items, users and devices when the batch is committed.

The result does not depend on the order of the files: of two values of the same key the later one wins.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from sqlalchemy import Connection, delete, select, text, tuple_

from infra.database.bulk_copy import copy
from infra.database.engine import database_now
from infra.database.schema.schema import ingest_updates
from models.primitives.json_types import JsonObject
from tasks.ingest.ledger_records import Agreement
from tasks.ingest.rows import attribute_history, consent, statements
from tasks.ingest.rows import last_write_wins as later

ITEM, TRAITS, CONSENT, DEVICE = "item", "traits", "consent", "device"
ITEM_SEEN = "item_seen"
"""An item that events name, without other values."""
UNCONFIRMED: Final[JsonObject] = {"available_from": "infinity"}
"""Of an item that only pages name: its sale does not begin until a catalogue, a file or a server names it, too."""
ITEM_HISTORY, USER_HISTORY = "item_history", "user_history"


def _set(changes: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {becomes}" for name, becomes in changes.items())


class Update(NamedTuple):
    """Values of an item, a user or a device that a batch states."""

    kind: str
    key: str
    payload: JsonObject
    observed_at: datetime | None
    timestamps: Mapping[str, datetime | None] = MappingProxyType({})
    """The time of each value, if they differ."""


_UPDATES: Final = """
    SELECT batch_id, key, payload, field_timestamps, observed_at FROM ingest_updates
    WHERE batch_id = :batch_id AND chunk = :chunk AND kind = :kind ORDER BY key"""
_ATTRIBUTES: Final = ("items.attributes", "items.field_timestamps", "excluded.attributes", "excluded.field_timestamps")
_TRAITS: Final = ("users.attributes", "users.field_timestamps", "entry.payload", "entry.field_timestamps")
ITEM_CHANGES: Final = {
    **{name: later.text_column("items", name) for name in ("title", "category", "brand", "currency", "url", "image")},
    "price": later.number_column("items", "price"),
    **{name: later.flag_column("items", name) for name in ("available", "in_stock")},
    "available_from": "CASE WHEN items.available_from = 'infinity' THEN excluded.available_from "
    f"ELSE {later.moment_column('items', 'available_from')} END",
    "available_until": later.moment_column("items", "available_until"),
    "attributes": later.values(*_ATTRIBUTES, within=later.WITHIN),
    "field_timestamps": later.times("items.field_timestamps", "excluded.field_timestamps"),
}
"""SQL for the values of an item's columns in an upsert."""
_VALUES: Final = {
    "items": (
        *("item_id", "title", "category", "brand", "price", "currency", "attributes", "available"),
        *("url", "image", "in_stock", "available_from", "available_until"),
    ),
    "users": ("user_key", "attributes", "consent"),
}
_AVAILABLE: Final = "coalesce((payload->>'available')::boolean, true)"
_STATEMENTS: Final = {
    ITEM_SEEN: f"""
        INSERT INTO items (item_id, attributes, available, batch_id, available_from)
        SELECT key, '{{}}', {_AVAILABLE}, batch_id, (payload->>'available_from')::timestamptz
        FROM ({_UPDATES}) AS entry
        ON CONFLICT (item_id) DO UPDATE SET available_from = NULL
        WHERE items.available_from = 'infinity' AND excluded.available_from IS NULL""",
    ITEM: f"""
        INSERT INTO items (item_id, title, category, brand, price, currency, attributes, available, batch_id,
            field_timestamps, url, image, in_stock, available_until)
        SELECT key, payload->>'title', payload->>'category', payload->>'brand', (payload->>'price')::float,
            payload->>'currency', coalesce(payload->'attributes', '{{}}'), {_AVAILABLE}, batch_id, field_timestamps,
            payload->>'url', payload->>'image', (payload->>'in_stock')::boolean,
            (payload->>'available_until')::timestamptz
        FROM ({_UPDATES}) AS entry
        ON CONFLICT (item_id) DO UPDATE SET {_set(ITEM_CHANGES)}, batch_id = excluded.batch_id""",
    # Of a user who never agreed only the refusal is stored, so that it can be honoured.
    CONSENT: f"""
        INSERT INTO users (user_key, attributes, consent, consent_source, batch_id, consent_at, refused_at)
        SELECT key, '{{}}', (payload->>'consent')::boolean, payload->>'source', batch_id, observed_at,
            (payload->>'refused_at')::timestamptz FROM ({_UPDATES}) AS entry
        ON CONFLICT (user_key) DO UPDATE SET {_set(consent.ANSWERS)}""",
    TRAITS: f"""
        UPDATE users SET attributes = {later.values(*_TRAITS, only=consent.SINCE)},
            field_timestamps = {later.times("users.field_timestamps", "entry.field_timestamps", only=consent.SINCE)}
        FROM ({_UPDATES}) AS entry WHERE users.user_key = entry.key AND users.consent""",
    # By a page, a device that has a user keeps that user, unless only a claim says so and now a signature.
    DEVICE: f"""
        INSERT INTO aliases (anonymous_key, user_key, occurred_at, batch_id, claimed)
        SELECT key, owner, observed_at, batch_id, authority IS NOT DISTINCT FROM 'claim' FROM (
            SELECT *, payload->>'user_key' AS owner, payload->>'authority' AS authority
            FROM ({_UPDATES}) AS entry) AS device
        WHERE NOT EXISTS (SELECT FROM users WHERE users.user_key = device.owner AND users.refused_at IS NOT NULL
                AND (NOT users.consent OR coalesce(device.observed_at, '-infinity') <= users.refused_at))
            AND NOT (coalesce(authority IN ('claim', 'signed'), false) AND EXISTS (
                SELECT FROM aliases AS known WHERE known.anonymous_key = device.key AND known.user_key <> device.owner
                AND (device.authority = 'claim' OR NOT known.claimed)))
        ON CONFLICT (anonymous_key, user_key) DO UPDATE SET batch_id = excluded.batch_id,
            occurred_at = CASE WHEN excluded.claimed THEN aliases.occurred_at WHEN aliases.claimed
                THEN excluded.occurred_at ELSE greatest(aliases.occurred_at, excluded.occurred_at) END,
            claimed = aliases.claimed AND excluded.claimed""",
}
"""In this order: traits are stored for users who agree by then, and devices for users who have not refused."""


_CHANGES: Final = """
    SELECT key, change->>'name' AS name,
        least(coalesce((change->>'since')::timestamptz, '-infinity'),
            coalesce(CAST(:at AS timestamptz), now())) AS since,
        CASE WHEN change->>'name' = 'price' AND kind = 'item_history' THEN ((change->>'value')::float)::text
            ELSE change->>'value' END AS value
    FROM ingest_updates CROSS JOIN LATERAL jsonb_array_elements(payload->'changes') AS change
    WHERE batch_id = :batch_id AND kind = :kind"""
# Values from before a refusal are not stored.
_AGREED_CHANGES: Final = f"""
    SELECT changes.* FROM ({_CHANGES}) AS changes JOIN users ON users.user_key = changes.key AND users.consent
    WHERE users.refused_at IS NULL OR changes.since > users.refused_at"""


def stage(connection: Connection, batch_id: str, chunk: int, updates: Iterable[Update]) -> None:
    """Store the updates of a chunk, or replace them. Each kind and key has one update."""
    stage_chunks(connection, {(batch_id, chunk): updates})


def stage_chunks(connection: Connection, chunks: Mapping[tuple[str, int], Iterable[Update]]) -> None:
    """Store the updates of chunks, by batch and number, as `stage` does."""
    staged = tuple_(ingest_updates.c.batch_id, ingest_updates.c.chunk).in_(list(chunks))
    connection.execute(delete(ingest_updates).where(staged))
    names = ("batch_id", "chunk", "kind", "key", "payload", "field_timestamps", "observed_at")
    now = database_now(connection)
    copy(
        connection,
        "ingest_updates",
        names,
        ((*chunk, *_row(update, now)) for chunk, updates in chunks.items() for update in updates),
    )


def _row(update: Update, now: datetime) -> tuple[str, str, str, str, str | None]:
    observed_at = later.written(update.observed_at, now) if update.observed_at else None
    timestamps = json.dumps(later.moments(update.timestamps, now))
    return update.kind, update.key, json.dumps(update.payload), timestamps, observed_at


def apply(connection: Connection, *batch_ids: str) -> None:
    """Apply the updates of batches in their order, and store them for the undo of another batch."""
    lock_entities(connection)
    statements.begin(connection, *batch_ids)
    if not statements.record_updates(connection, *batch_ids):
        return
    relevant = ingest_updates.c.batch_id.in_(batch_ids), ingest_updates.c.kind != statements.PERSON
    stating = set(connection.execute(select(ingest_updates.c.batch_id).where(*relevant).distinct()).scalars())
    for batch_id in filter(stating.__contains__, batch_ids):
        apply_staged(connection, batch_id)
    discard(connection, *batch_ids)
    statements.strip_batches(connection, *batch_ids)


def apply_staged(connection: Connection, batch_id: str, at: datetime | None = None) -> None:
    """Apply staged updates kind by kind, first items, then consent; they count from `at`, or now."""
    staged = ingest_updates.c.batch_id == batch_id
    entry = ingest_updates.c
    kinds_by_chunk = select(entry.chunk, entry.kind).where(staged).distinct().order_by(entry.chunk)
    chunks = connection.execute(kinds_by_chunk).all()
    if not chunks:
        return
    kinds = {chunk_kind for _, chunk_kind in chunks}
    if ITEM_HISTORY in kinds:
        attribute_history.record(connection, "item", _CHANGES, batch_id=batch_id, kind=ITEM_HISTORY, at=at)
    for kind, statement in _STATEMENTS.items():
        if kind == TRAITS and USER_HISTORY in kinds:
            attribute_history.record(connection, "user", _AGREED_CHANGES, batch_id=batch_id, kind=USER_HISTORY, at=at)
        for chunk in (chunk for chunk, chunk_kind in chunks if chunk_kind == kind):
            connection.execute(text(statement), {"batch_id": batch_id, "chunk": chunk, "kind": kind})
        if kind == CONSENT and kind in kinds:
            refused = ingest_updates.c.payload["refused_at"].astext.is_not(None)
            people = select(ingest_updates.c.key).where(staged, ingest_updates.c.kind == CONSENT, refused).distinct()
            consent.withdraw(connection, list(connection.execute(people).scalars()))
    discard(connection, batch_id)


def lock_entities(connection: Connection) -> None:
    """Lock items and users until the transaction ends; it may change them in any order."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('items and users', 0))"))


def digest(connection: Connection, dataset: Literal["items", "users"]) -> tuple[object, ...]:
    """Return a digest of all values of items or users, without their times and batches."""
    values = f"hashtextextended(row({', '.join(_VALUES[dataset])})::text, 0)"
    return tuple(connection.execute(text(f"SELECT count(*), sum({values}) FROM {dataset}")).one())


def refusals(connection: Connection, batch_id: str) -> list[tuple[str, datetime]]:
    """Return the users whose last answer in the batch is a refusal, with its time."""
    rows = select(ingest_updates.c.key, ingest_updates.c.observed_at).where(
        ingest_updates.c.batch_id == batch_id,
        ingest_updates.c.kind == CONSENT,
        ingest_updates.c.payload["consent"].astext == "false",
    )
    return [(row.key, row.observed_at) for row in connection.execute(rows)]


def agree(connection: Connection, batch_id: str, agreements: Sequence[Agreement]) -> None:
    """Replace refusals of a batch by the users' later agreements."""
    statement = """
        UPDATE ingest_updates SET payload = payload || '{"consent": true, "agreed_by_event": true}',
            observed_at = :agreed_at
        WHERE batch_id = :batch_id AND kind = 'consent' AND key = :user_key AND observed_at = :refused_at"""
    if agreements:
        connection.execute(text(statement), [{"batch_id": batch_id, **one._asdict()} for one in agreements])


def discard(connection: Connection, *batch_ids: str) -> None:
    """Delete staged updates of batches that are applied or refused."""
    connection.execute(delete(ingest_updates).where(ingest_updates.c.batch_id.in_(batch_ids)))
