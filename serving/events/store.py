"""Stores messages in Postgres in one transaction, and applies what must count at once."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import asyncpg
import orjson

from serving.events import statements
from serving.events.message import Message, Receipt, RefusedMessageError

GROUP: Final = 500
"""The most messages of one transaction."""
INVALID: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, RefusedMessageError)
"""Errors that a message causes, and not an outage."""
PROFILE_LIFETIME: Final = timedelta(hours=24)
ACTS: Final = frozenset(("view", "click", "consume", "add_to_cart", "wishlist", "purchase", "like"))
"""The event types that show interest in an item, and so belong to a session profile."""


async def store(connection: asyncpg.Connection, messages: Sequence[Message]) -> list[Receipt]:
    """Store messages; returns the receipt of each. A message that is known already changes nothing."""
    async with connection.transaction():
        added = await _insert(connection, messages)
        fresh = list(added.values())
        await _remember(connection, fresh)
        await _state_consent(connection, fresh)
        await _exclude(connection, fresh)
        await _extend_profiles(connection, fresh)
    repeated = [one for one in messages if added.get(one.name) is not one]
    digests = await _digests(connection, repeated) if repeated else {}
    return [_receipt(one, added, digests) for one in messages]


def _receipt(
    message: Message, added: dict[tuple[str, str], Message], digests: dict[tuple[str, str], bytes | None]
) -> Receipt:
    if added.get(message.name) is message:
        return "stored"
    # A row that is gone by now was moved: then the ledger decides by the event's id.
    return "duplicate" if digests.get(message.name, message.digest) == message.digest else "conflict"


async def _insert(connection: asyncpg.Connection, messages: Sequence[Message]) -> dict[tuple[str, str], Message]:
    """Insert messages; returns the new ones. Of messages with the same id the first counts."""
    first: dict[tuple[str, str], Message] = {}
    for one in messages:
        first.setdefault(one.name, one)
    chosen = list(first.values())
    names = ("source", "message_id", "kind", "user_key", "session_key", "key_version", "consent", "body", "digest")
    values = [[getattr(one, name) for one in chosen] for name in (*names, "received_at")]
    rows = await connection.fetch(statements.INSERT, *values)
    return {(row["source"], row["message_id"]): first[row["source"], row["message_id"]] for row in rows}


async def _digests(connection: asyncpg.Connection, messages: Sequence[Message]) -> dict[tuple[str, str], bytes | None]:
    sources, ids = zip(*(one.name for one in messages), strict=True)
    rows = await connection.fetch(statements.DIGESTS, list(sources), list(ids))
    return {(row["source"], row["message_id"]): row["digest"] for row in rows}


async def _remember(connection: asyncpg.Connection, messages: Sequence[Message]) -> None:
    """Store the raw ids of users who do not refuse."""
    known = {one.user_key: one for one in messages if one.user_key and one.user_id and one.consent is not False}
    if known:
        chosen = [known[key] for key in sorted(known)]
        values = [[getattr(one, name) for one in chosen] for name in ("user_key", "user_id", "key_version")]
        await connection.execute(statements.REMEMBER, *values)


async def _state_consent(connection: asyncpg.Connection, messages: Sequence[Message]) -> None:
    """Apply answers about consent, which count from this transaction on."""
    answers = [one for one in messages if one.kind == "user" and one.consent is not None and one.user_key]
    if answers:
        answers.sort(key=lambda one: (one.user_key or "", one.received_at))
        names = ("user_key", "consent", "received_at", "source")
        await connection.execute(statements.CONSENT, *([getattr(one, name) for one in answers] for name in names))


async def _exclude(connection: asyncpg.Connection, messages: Sequence[Message]) -> None:
    """Hide what users do not want to see."""
    hidden = {
        (one.subject, entry["kind"], entry["value"])
        for one in messages
        if one.subject and one.consent is not False
        for entry in one.payload.get("exclusions", ())
    }
    if hidden:
        await connection.execute(statements.EXCLUDE, *map(list, zip(*sorted(hidden), strict=True)))


async def _extend_profiles(connection: asyncpg.Connection, messages: Sequence[Message]) -> None:
    """Add the items of events to the profiles of their visitors."""
    acts: dict[str, list[Message]] = {}
    for one in messages:
        if one.kind == "event" and one.subject and one.consent is not False and one.payload["event_type"] in ACTS:
            acts.setdefault(one.subject, []).append(one)
    if acts:
        subjects = sorted(acts)
        items = [[one.payload["item_id"] for one in acts[key]][-statements.LONGEST_PROFILE :] for key in subjects]
        agreed = [any(one.consent for one in acts[key]) for key in subjects]
        written = [orjson.dumps(own).decode() for own in items]
        await connection.execute(statements.PROFILE, subjects, written, agreed, PROFILE_LIFETIME)
