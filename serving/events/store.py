"""Stores messages in Postgres in one transaction, and applies what must count at once."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import asyncpg

from models.columns import CLAIM, SERVER, SIGNED
from serving.events import statements
from serving.events.message import Effects, Message, Receipt, RefusedMessageError

GROUP: Final = 500
"""The most messages of one transaction."""
INVALID: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, RefusedMessageError)
"""Errors that a message causes, and not an outage."""
PROFILE_LIFETIME: Final = timedelta(hours=24)
_STORED: Final = (
    *("source", "message_id", "kind", "user_key", "session_key", "earlier_key", "key_version", "authority", "consent"),
    *("body", "digest", "received_at"),
)
_Effects = dict[tuple[str, str], Effects]


async def store(connection: asyncpg.Connection, messages: Sequence[Message]) -> list[Receipt]:
    """Store messages; returns the receipt of each. A message that is known already changes nothing."""
    async with connection.transaction():
        added = await _insert(connection, messages)
        fresh = list(added.values())
        effects = {one.name: one.effects for one in fresh}
        await _state_consent(connection, fresh, effects)
        await _remember(connection, fresh, effects)
        await _exclude(connection, fresh)
        await _extend_profiles(connection, fresh, effects)
        await _join_devices(connection, fresh, effects)
        if charged := [one.charged for one in messages if one.charged]:
            await connection.execute(statements.CHARGE, *map(list, zip(*charged, strict=True)))
    repeated = [one for one in messages if added.get(one.name) is not one]
    digests = await _digests(connection, repeated) if repeated else {}
    return [_receipt(one, added, digests) for one in messages]


def _receipt(
    message: Message, added: dict[tuple[str, str], Message], digests: dict[tuple[str, str], bytes | None]
) -> Receipt:
    if added.get(message.name) is message:
        return "stored"
    # A row that is gone by now was moved, and one without a digest is of an earlier version: then the ledger decides.
    return "duplicate" if digests.get(message.name) in (None, message.digest) else "conflict"


async def _insert(connection: asyncpg.Connection, messages: Sequence[Message]) -> dict[tuple[str, str], Message]:
    """Insert messages; returns the new ones. Of messages with the same id the first counts."""
    first: dict[tuple[str, str], Message] = {}
    for one in messages:
        first.setdefault(one.name, one)
    chosen = list(first.values())
    values = [[getattr(one, name) for one in chosen] for name in _STORED]
    rows = await connection.fetch(statements.INSERT, *values)
    return {(row["source"], row["message_id"]): first[row["source"], row["message_id"]] for row in rows}


async def _digests(connection: asyncpg.Connection, messages: Sequence[Message]) -> dict[tuple[str, str], bytes | None]:
    sources, ids = zip(*(one.name for one in messages), strict=True)
    rows = await connection.fetch(statements.DIGESTS, list(sources), list(ids))
    return {(row["source"], row["message_id"]): row["digest"] for row in rows}


async def _remember(connection: asyncpg.Connection, messages: Sequence[Message], effects: _Effects) -> None:
    """Store the raw ids of users who agree now, or did before."""
    known: dict[str, tuple[Message, bool]] = {}
    for one in messages:
        if one.user_key and one.user_id and one.consent is not False:
            # What a page claims of a user is no agreement of that user.
            agreed = effects[one.name].agrees and not (one.authority == CLAIM and one.consent)
            known[one.user_key] = one, agreed or known.get(one.user_key, (one, False))[1]
    if known:
        rows = [(key, one.user_id, one.key_version, agreed) for key, (one, agreed) in sorted(known.items())]
        await connection.execute(statements.REMEMBER, *map(list, zip(*rows, strict=True)))


async def _state_consent(connection: asyncpg.Connection, messages: Sequence[Message], effects: _Effects) -> None:
    """Apply answers about consent, which count from this transaction on."""
    stated = [(one, effects[one.name]) for one in messages]
    answers = [
        (one.speaker, effect.answer, effect.stated_at, one.source)
        for one, effect in stated
        if one.speaker and effect.answer is not None
    ]
    if answers:
        answers.sort(key=lambda answer: (answer[0] or "", answer[2]))
        await connection.execute(statements.CONSENT, *map(list, zip(*answers, strict=True)))


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


async def _join_devices(connection: asyncpg.Connection, messages: Sequence[Message], effects: _Effects) -> None:
    """Move the profiles of devices to the users who own them now."""
    owners: dict[str, Message] = {}
    for one in messages:
        for device in effects[one.name].joined:
            if one.user_key and one.user_key != device and one.consent is not False:
                first = owners.get(device)
                # By pages the first owner stays, and a signature outranks a claim.
                if first is None or one.authority == SERVER or (first.authority, one.authority) == (CLAIM, SIGNED):
                    owners[device] = one
    if not owners:
        return
    ordered = sorted(owners.items())
    by_page = [
        (device, one.user_key, one.received_at, one.authority == CLAIM)
        for device, one in ordered
        if one.authority != SERVER
    ]
    if by_page:
        devices, *values = map(list, zip(*by_page, strict=True))
        await connection.execute(statements.LOCK_DEVICES, devices)
        await connection.execute(statements.OWN, devices, *values)
    moves = [(device, one.user_key, one.authority != SERVER, one.authority == CLAIM) for device, one in ordered]
    await connection.execute(statements.JOIN, *map(list, zip(*moves, strict=True)))


async def _extend_profiles(connection: asyncpg.Connection, messages: Sequence[Message], effects: _Effects) -> None:
    """Add the items of events to the profiles of their visitors."""
    acts: dict[tuple[str, bool], list[tuple[str, float, str | None]]] = {}
    agreed: set[str] = set()
    for one in messages:
        stated = effects[one.name]
        if stated.acted_on and one.subject and one.consent is not False:
            at = stated.stated_at.timestamp()
            own = acts.setdefault((one.subject, one.authority == CLAIM), [])
            own.extend((item, at, stated.kind) for item in stated.acted_on)
            agreed |= {one.subject} if stated.agrees else set()
    rows = [(subject, claimed, *act, subject in agreed) for (subject, claimed), own in acts.items() for act in own]
    if rows:
        await connection.execute(statements.PROFILE, *map(list, zip(*rows, strict=True)), PROFILE_LIFETIME)
