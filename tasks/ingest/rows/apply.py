"""Applies a batch's updates of items, users and devices when the batch is committed, and users' answers about consent.

The result does not depend on the order of the files: of two values of the same key the later one wins.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, delete, select, text, tuple_

from infra.database.bulk_copy import array, copy, read_table
from infra.database.engine import database_now
from infra.database.schema.schema import ingest_updates
from infra.lake.delta_lake import Lake
from models import columns
from models.primitives.arrow_sql import literal, query, texts
from models.primitives.json_types import JsonObject
from tasks.ingest.rows import statements
from tasks.ingest.rows.statements import BYTES, item_column, item_flag, merged_times, merged_values

_ANSWERED: Final = """excluded.consent_at IS NOT NULL AND (users.consent_at IS NULL
    OR (excluded.consent_at, NOT excluded.consent) >= (users.consent_at, NOT users.consent))"""
# Of a refusal and an agreement at the same time the refusal counts.
ANSWERS: Final = {
    **{
        name: f"CASE WHEN {_ANSWERED} THEN excluded.{name} ELSE users.{name} END"
        for name in ("consent", "consent_source", "consent_at")
    },
    "refused_at": "greatest(users.refused_at, excluded.refused_at)",
}
"""SQL for the values of a user's columns in an upsert. A declaration for all users changes no known user; a newer
answer of the user does."""
_SINCE: Final = """(users.refused_at IS NULL
    OR at > to_char(users.refused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))"""
"""SQL: whether the time `at` is after the user's last refusal."""
# The keys as one text, because PostgreSQL needs far longer to read a long list of parameters.
_ANSWERS_OF: Final = text("""
    SELECT users.user_key, consent, identities.user_key IS NOT NULL, NOT consent AND consent_at IS NULL, erased_at
    FROM users LEFT JOIN identity.users AS identities USING (user_key)
    WHERE users.user_key = ANY(CAST(:keys AS text[])) AND (NOT consent OR batch_id <> :batch_id)""")
_KINDS: Final = {
    "user_key": pa.string(),
    **dict.fromkeys(("agreed", "introduced", "unanswered"), pa.bool_()),
    "erased_at": pa.timestamp("us", tz="UTC"),
}
_WITHDRAW: Final = text(Path(__file__).with_name("withdraw.sql").read_text())
ITEM, TRAITS, CONSENT, DEVICE = "item", "traits", "consent", "device"
ITEM_SEEN = "item_seen"
"""An item that events name, without other values."""
UNCONFIRMED: Final[JsonObject] = {"available_from": "infinity"}
"""Of an item that only pages name: its sale does not begin until a catalogue, a file or a server names it, too."""
ITEM_HISTORY, USER_HISTORY = "item_history", "user_history"
_UPDATES: Final = """
    SELECT batch_id, key, payload, field_timestamps, observed_at FROM ingest_updates
    WHERE batch_id = :batch_id AND chunk = :chunk AND kind = :kind ORDER BY key"""
_ATTRIBUTES: Final = ("items.attributes", "items.field_timestamps", "excluded.attributes", "excluded.field_timestamps")
_TRAITS: Final = ("users.attributes", "users.field_timestamps", "entry.payload", "entry.field_timestamps")
_NO_TIME: Final = "'-infinity'::timestamptz"
ITEM_CHANGES: Final = {
    **{name: item_column(name, f"'' {BYTES}") for name in ("title", "category", "brand", "currency", "url", "image")},
    "price": item_column("price", "'-Infinity'"),
    **{name: item_flag(name) for name in ("available", "in_stock")},
    "available_from": "CASE WHEN items.available_from = 'infinity' THEN excluded.available_from "
    f"ELSE {item_column('available_from', _NO_TIME)} END",
    "available_until": item_column("available_until", _NO_TIME),
    "attributes": merged_values(*_ATTRIBUTES, within=statements.WITHIN),
    "field_timestamps": merged_times("items.field_timestamps", "excluded.field_timestamps"),
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
_AGREE: Final = """
    UPDATE ingest_updates SET payload = payload || '{"consent": true, "agreed_by_event": true}',
        observed_at = :agreed_at
    WHERE batch_id = :batch_id AND kind = 'consent' AND key = :user_key AND observed_at = :refused_at"""


class Agreement(NamedTuple):
    """A user agreed by an event after a refusal."""

    user_key: str
    refused_at: datetime
    agreed_at: datetime


@dataclass(frozen=True)
class Answers:
    """The users with an answer about consent."""

    agreed: pa.Array
    refused: pa.Array
    introduced: pa.Array
    """Users who agreed and whose raw id is stored."""
    unanswered: pa.Array
    """Those of `refused` who never answered."""
    erased_at: Mapping[str, datetime] = field(default_factory=dict)
    """When the earlier data of users were erased, by user."""


def answers_of(connection: Connection, keys: pa.ChunkedArray, batch_id: str) -> Answers:
    """Return the answers of these users; a user whom the batch introduced has not agreed.

    Otherwise a batch that continues where an earlier run stopped would see other answers than that run.
    """
    statement = _ANSWERS_OF.bindparams(keys=array(pc.drop_null(pc.unique(keys))), batch_id=batch_id)
    rows = read_table(connection, statement, _KINDS)
    agreed = rows["agreed"]
    masks = (agreed, pc.invert(agreed), pc.and_(agreed, rows["introduced"]), rows["unanswered"])
    agrees, refuses, introduced, unanswered = (rows["user_key"].filter(mask).combine_chunks() for mask in masks)
    erased = rows.select(["user_key", "erased_at"]).drop_null().to_pydict()
    return Answers(agrees, refuses, introduced, unanswered, dict(zip(*erased.values(), strict=True)))


def withdraw(connection: Connection, keys: list[str]) -> None:
    """Delete the traits and devices that users stated before they refused, and those statements."""
    if keys:
        connection.execute(_WITHDRAW, {"keys": keys})


def agreed_after(lake: Lake, refusals: Sequence[tuple[str, datetime]], without: str = "") -> list[Agreement]:
    """Return the latest agreements by events of the lake after refusals (user and time).

    Events of the batch `without` do not count.
    """
    if not refusals:
        return []
    keys, moments = zip(*refusals, strict=True)
    paths = lake.event_files(since=min(moments).astimezone(UTC).isoformat()[:7])
    if not paths:
        return []
    times = pa.array(moments, pa.timestamp("us", tz="UTC"))
    refused = pa.table({"user_key": pa.array(keys, pa.string()), "refused_at": times})
    statement = f"""
        WITH events AS (
            SELECT user_key, occurred_at, consent, batch_id FROM (
                SELECT NULL::BOOLEAN AS consent, NULL::VARCHAR AS {columns.AUTHORITY} WHERE false UNION ALL BY NAME
                SELECT * FROM read_parquet({texts(paths)}, union_by_name = true)  -- earlier versions: without them
            ) WHERE {columns.AUTHORITY} IS DISTINCT FROM '{columns.CLAIM}'
        )
        SELECT user_key, refused_at, max(occurred_at) AS agreed_at FROM events
        JOIN refused USING (user_key) WHERE events.consent AND events.occurred_at > refused.refused_at
            AND batch_id <> {literal(without)}
        GROUP BY ALL
    """
    return [Agreement(**row) for row in query(statement, refused=refused).to_pylist()]


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
        ON CONFLICT (user_key) DO UPDATE SET {_set(ANSWERS)}""",
    TRAITS: f"""
        UPDATE users SET attributes = {merged_values(*_TRAITS, only=_SINCE)},
            field_timestamps = {merged_times("users.field_timestamps", "entry.field_timestamps", only=_SINCE)}
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


def stage(connection: Connection, chunks: Mapping[tuple[str, int], Iterable[Update]]) -> None:
    """Store the updates of chunks, by batch and number, or replace them. Each kind and key has one update."""
    staged = tuple_(ingest_updates.c.batch_id, ingest_updates.c.chunk).in_(list(chunks))
    connection.execute(delete(ingest_updates).where(staged))
    names = ("batch_id", "chunk", "kind", "key", "payload", "field_timestamps", "observed_at")
    now = database_now(connection)
    rows = ((*chunk, *_row(update, now)) for chunk, updates in chunks.items() for update in updates)
    copy(connection, "ingest_updates", names, rows)


def _row(update: Update, now: datetime) -> tuple[str, str, str, str, str | None]:
    observed_at = statements.written(update.observed_at, now) if update.observed_at else None
    timestamps = json.dumps(statements.moments(update.timestamps, now))
    return update.kind, update.key, json.dumps(update.payload), timestamps, observed_at


def apply(lake: Lake, connection: Connection, *batch_ids: str) -> None:
    """Apply the updates of batches in their order, and store them for the undo of another batch.

    A refusal after which the same user agreed by an event of the lake counts as that agreement.
    """
    lock_entities(connection)
    statements.begin(connection, *batch_ids)
    relevant = ingest_updates.c.batch_id.in_(batch_ids), ingest_updates.c.kind != statements.PERSON
    stating = set(connection.execute(select(ingest_updates.c.batch_id).where(*relevant).distinct()).scalars())
    for batch_id in stating:
        if agreements := agreed_after(lake, refusals(connection, batch_id)):
            connection.execute(text(_AGREE), [{"batch_id": batch_id, **one._asdict()} for one in agreements])
    if not statements.record_updates(connection, *batch_ids):
        return
    for batch_id in filter(stating.__contains__, batch_ids):
        apply_staged(connection, batch_id)
    discard(connection, *batch_ids)
    withdraw(connection, statements.refusing_users(connection, *batch_ids))


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
        statements.record_history(connection, "item", _CHANGES, batch_id=batch_id, kind=ITEM_HISTORY, at=at)
    for kind, statement in _STATEMENTS.items():
        if kind == TRAITS and USER_HISTORY in kinds:
            statements.record_history(connection, "user", _AGREED_CHANGES, batch_id=batch_id, kind=USER_HISTORY, at=at)
        for chunk in (chunk for chunk, chunk_kind in chunks if chunk_kind == kind):
            connection.execute(text(statement), {"batch_id": batch_id, "chunk": chunk, "kind": kind})
        if kind == CONSENT and kind in kinds:
            refused = ingest_updates.c.payload["refused_at"].astext.is_not(None)
            people = select(ingest_updates.c.key).where(staged, ingest_updates.c.kind == CONSENT, refused).distinct()
            withdraw(connection, list(connection.execute(people).scalars()))
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


def discard(connection: Connection, *batch_ids: str) -> None:
    """Delete staged updates of batches that are applied or refused."""
    connection.execute(delete(ingest_updates).where(ingest_updates.c.batch_id.in_(batch_ids)))
