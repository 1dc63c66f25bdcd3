"""What a batch says about items, users and devices besides its events. It counts once the batch is committed.

Nothing depends on the order in which files come in: of two things said about the same, the one said later stays.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, text

from infra.bulk import copy
from infra.schema import ingest_updates

ITEM, TRAITS, CONSENT, DEVICE = "item", "traits", "consent", "device"


class Update(NamedTuple):
    """One thing said: of which kind, about whom, what, and when."""

    kind: str
    key: str
    said: dict[str, Any]
    said_at: datetime | None


_NEWER: Final = "(coalesce(excluded.said_at, '-infinity') >= coalesce({table}.said_at, '-infinity'))"
_LATER: Final = "(coalesce(said.said_at, '-infinity') >= coalesce(users.said_at, '-infinity'))"


def _latest(name: str) -> str:
    newer = _NEWER.format(table="items")
    return f"""{name} = CASE WHEN {newer} THEN coalesce(excluded.{name}, items.{name})
        ELSE coalesce(items.{name}, excluded.{name}) END"""


# A clock that is years ahead must not have the last word for years.
_SAID: Final = """
    SELECT batch_id, key, said, CASE WHEN said_at > now() THEN now() ELSE said_at END AS said_at
    FROM ingest_updates WHERE batch_id = :batch_id AND chunk = :chunk AND kind = :kind ORDER BY key"""
_STATEMENTS: Final = {
    ITEM: f"""
        INSERT INTO items (item_id, title, category, brand, price, currency, attributes, available, batch_id, said_at)
        SELECT key, said->>'title', said->>'category', said->>'brand', (said->>'price')::float, said->>'currency',
            coalesce(said->'attributes', '{{}}'), true, batch_id, said_at FROM ({_SAID}) AS said
        ON CONFLICT (item_id) DO UPDATE SET
            {", ".join(map(_latest, ("title", "category", "brand", "price", "currency")))},
            attributes = CASE WHEN {_NEWER.format(table="items")} THEN items.attributes || excluded.attributes
                ELSE excluded.attributes || items.attributes END,
            batch_id = excluded.batch_id, said_at = greatest(items.said_at, excluded.said_at)""",
    # Of somebody who never agreed only the refusal is kept, so that it can be honoured.
    CONSENT: f"""
        INSERT INTO users (user_key, attributes, consent, consent_source, batch_id, consent_at)
        SELECT key, '{{}}', (said->>'consent')::boolean, said->>'source', batch_id, said_at FROM ({_SAID}) AS said
        ON CONFLICT (user_key) DO UPDATE SET consent = excluded.consent, consent_source = excluded.consent_source,
            consent_at = excluded.consent_at
        WHERE users.consent_at IS NULL OR excluded.consent_at >= users.consent_at""",
    TRAITS: f"""
        UPDATE users SET said_at = greatest(users.said_at, said.said_at), attributes =
            CASE WHEN {_LATER} THEN users.attributes || said.said ELSE said.said || users.attributes END
        FROM ({_SAID}) AS said WHERE users.user_key = said.key AND users.consent""",
    DEVICE: f"""
        INSERT INTO aliases (anonymous_key, user_key, occurred_at, batch_id)
        SELECT key, said->>'user_key', said_at, batch_id FROM ({_SAID}) AS said
        WHERE NOT EXISTS (SELECT FROM users WHERE users.user_key = said.said->>'user_key' AND NOT users.consent)
        ON CONFLICT (anonymous_key) DO UPDATE SET user_key = excluded.user_key, occurred_at = excluded.occurred_at,
            batch_id = excluded.batch_id
        WHERE coalesce(excluded.occurred_at, '-infinity') >= coalesce(aliases.occurred_at, '-infinity')""",
}
"""In this order: traits are kept of those who agree by then, and devices of those who have not refused."""


def stage(connection: Connection, batch_id: str, chunk: int, updates: Iterable[Update]) -> None:
    """Write down what a chunk says; a repeat of the chunk replaces it. Of one kind and key, one update."""
    mine = (ingest_updates.c.batch_id == batch_id, ingest_updates.c.chunk == chunk)
    connection.execute(delete(ingest_updates).where(*mine))
    rows = ((batch_id, chunk, u.kind, u.key, json.dumps(u.said), u.said_at) for u in updates)
    copy(connection, "ingest_updates", ("batch_id", "chunk", "kind", "key", "said", "said_at"), rows)


def apply(connection: Connection, batch_id: str) -> None:
    """Let everything that a batch said count, in its order."""
    mine = ingest_updates.c.batch_id == batch_id
    chunks = connection.execute(select(ingest_updates.c.chunk).where(mine).distinct().order_by(ingest_updates.c.chunk))
    for chunk in chunks.scalars().all():
        for kind, statement in _STATEMENTS.items():
            connection.execute(text(statement), {"batch_id": batch_id, "chunk": chunk, "kind": kind})
    discard(connection, batch_id)


def refusals(connection: Connection, batch_id: str) -> list[tuple[str, datetime]]:
    """Who refused, by what the batch said, and when."""
    said = select(ingest_updates.c.key, ingest_updates.c.said_at).where(
        ingest_updates.c.batch_id == batch_id,
        ingest_updates.c.kind == CONSENT,
        ingest_updates.c.said["consent"].astext == "false",
    )
    return [(row.key, row.said_at) for row in connection.execute(said) if row.said_at is not None]


def drop_refusals(connection: Connection, batch_id: str, refusals: Sequence[Mapping[str, Any]]) -> None:
    """Forget refusals (`user_key`, `said_at`) of a batch."""
    mine = (ingest_updates.c.batch_id == batch_id, ingest_updates.c.kind == CONSENT)
    these = (ingest_updates.c.key == bindparam("user_key"), ingest_updates.c.said_at == bindparam("said_at"))
    if refusals:
        connection.execute(delete(ingest_updates).where(*mine, *these), [dict(refusal) for refusal in refusals])


def discard(connection: Connection, batch_id: str) -> None:
    """Forget what a batch said: it counts already, or never will."""
    connection.execute(delete(ingest_updates).where(ingest_updates.c.batch_id == batch_id))
