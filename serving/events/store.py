"""Stores messages in Postgres in one transaction, and applies what must count at once."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import asyncpg

from models.columns import CLAIM, PURCHASE, SERVER, SIGNED
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
LONGEST_PROFILE: Final = 50
"""The items that a session profile holds, besides those that were bought."""
MOST_PURCHASES: Final = 500
"""The purchases that a session profile holds: clicks do not displace them, or bought items would be offered again."""
_INSERT: Final = """
    INSERT INTO event_inbox
        (source, message_id, kind, user_key, session_key, earlier_key, key_version, authority, consent, payload, digest,
        received_at)
    SELECT source, message_id, kind, user_key, session_key, earlier_key, key_version, authority, consent,
        payload::jsonb, digest, least(received_at, now())
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::text[],
        $9::boolean[], $10::text[], $11::bytea[], $12::timestamptz[])
        AS message (source, message_id, kind, user_key, session_key, earlier_key, key_version, authority, consent,
            payload, digest, received_at)
    ON CONFLICT (source, message_id) DO NOTHING
    RETURNING source, message_id"""
_DIGESTS: Final = """
    SELECT source, message_id, digest FROM event_inbox
    JOIN unnest($1::text[], $2::text[]) AS message (source, message_id) USING (source, message_id)"""
# The raw id of somebody who never agreed is stored nowhere.
# The last statement of a transaction, because it locks what all processes count.
_CHARGE: Final = """
    INSERT INTO key_usage AS known (key_id, day, calls, bytes)
    SELECT key_id, (now() AT TIME ZONE 'UTC')::date, count(*), sum(bytes)
    FROM unnest($1::text[], $2::bigint[]) AS call (key_id, bytes) GROUP BY key_id ORDER BY key_id
    ON CONFLICT (key_id, day) DO UPDATE
        SET calls = known.calls + excluded.calls, bytes = known.bytes + excluded.bytes"""
ANY_IS_NEW: Final = """
    SELECT EXISTS (SELECT FROM unnest($1::text[]) AS visitor WHERE NOT EXISTS (
            SELECT FROM users WHERE user_key = visitor AND first_seen_on < (now() AT TIME ZONE 'UTC')::date)
        AND NOT EXISTS (SELECT FROM aliases WHERE anonymous_key = visitor
            AND (occurred_at AT TIME ZONE 'UTC')::date < (now() AT TIME ZONE 'UTC')::date))"""
_REMEMBER: Final = """
    SELECT identity.remember_user(user_key, user_id, key_version)
    FROM unnest($1::text[], $2::text[], $3::int[], $4::boolean[]) AS known (user_key, user_id, key_version, agrees)
    WHERE agrees OR EXISTS (SELECT FROM users WHERE users.user_key = known.user_key AND consent)"""
_LOCK_DEVICES: Final = """
    SELECT pg_advisory_xact_lock(hashtextextended(device, 0)) FROM unnest($1::text[]) AS device ORDER BY device"""
# The first page that names the user of a device is the one that counts; a signature outranks a claim. The move into
# the lake repeats this statement (`tasks/ingest/rows/apply.py`).
_OWN: Final = """
    INSERT INTO aliases AS known (anonymous_key, user_key, occurred_at, batch_id, claimed)
    SELECT device, stated.user_key, least(at, now()), '', claims
    FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::boolean[]) AS stated (device, user_key, at, claims)
    WHERE NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = stated.user_key)
        AND NOT EXISTS (SELECT FROM users WHERE users.user_key = stated.user_key
            AND (NOT consent OR erased_at >= coalesce(at, now())))
        AND NOT EXISTS (SELECT FROM aliases AS other WHERE other.anonymous_key = stated.device
            AND other.user_key <> stated.user_key AND (claims OR NOT other.claimed))
    ON CONFLICT (anonymous_key, user_key) DO UPDATE SET claimed = known.claimed AND excluded.claimed
    WHERE known.claimed AND NOT excluded.claimed"""
_CONSENT: Final = """
    SELECT state_consent(user_key, agrees, least(at, now()), origin)
    FROM unnest($1::text[], $2::boolean[], $3::timestamptz[], $4::text[]) AS answer (user_key, agrees, at, origin)"""
_EXCLUDE: Final = """
    INSERT INTO exclusions (user_key, kind, value)
    SELECT user_key, kind, value FROM unnest($1::text[], $2::text[], $3::text[]) AS hidden (user_key, kind, value)
    WHERE NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = hidden.user_key)
    ON CONFLICT DO NOTHING"""
_ARRAYS: Final = (
    "array_agg(item ORDER BY at, place), array_agg(at ORDER BY at, place), array_agg(kind ORDER BY at, place)"
)
_BOUGHT: Final = f"kind IS NOT DISTINCT FROM '{PURCHASE}'"
_KEPT: Final = f"age <= CASE WHEN {_BOUGHT} THEN {MOST_PURCHASES} ELSE {LONGEST_PROFILE} END"
# The newest clicks and purchases by their own times, in whatever order they arrive.
_MERGED: Final = f"""
    SELECT {_ARRAYS} FROM (
        SELECT *, row_number() OVER (PARTITION BY {_BOUGHT} ORDER BY at DESC, place DESC) AS age FROM (
            SELECT item, coalesce(at, profile.updated_at) AS at, kind, place
            FROM unnest(profile.items, profile.occurred_at, profile.kinds)
                WITH ORDINALITY AS own (item, at, kind, place)
            WHERE profile.expires_at > now()
            UNION ALL SELECT item, at, kind, cardinality(profile.items) + place
            FROM unnest(excluded.items, excluded.occurred_at, excluded.kinds)
                WITH ORDINALITY AS new (item, at, kind, place)) AS acts) AS latest
    WHERE {_KEPT}"""
_MERGE: Final = f"""
    ON CONFLICT (subject, claimed) DO UPDATE SET updated_at = now(), (items, occurred_at, kinds) = ({_MERGED}),
        expires_at = greatest(profile.expires_at, excluded.expires_at)"""
# An agreement in the message, or one that is stored; a refusal or a suppression outweighs both. What is older than a
# profile lives is late, and no sign of what a visitor wants now.
_PROFILE: Final = f"""
    INSERT INTO session_profiles AS profile (subject, claimed, items, occurred_at, kinds, updated_at, expires_at)
    SELECT subject, claimed, {_ARRAYS}, now(), max(at) + $7::interval
    FROM (
        SELECT subject, claimed, agrees, item, least(to_timestamp(at), now()) AS at, kind, place,
            row_number() OVER (PARTITION BY subject, claimed, {_BOUGHT} ORDER BY at DESC, place DESC) AS age
        FROM unnest($1::text[], $2::boolean[], $3::text[], $4::float8[], $5::text[], $6::boolean[])
            WITH ORDINALITY AS one (subject, claimed, item, at, kind, agrees, place)) AS acted
    WHERE {_KEPT} AND at > now() - $7::interval
        AND (agrees OR EXISTS (SELECT FROM users WHERE user_key = subject AND consent))
        AND NOT EXISTS (SELECT FROM users WHERE user_key = subject AND (NOT consent OR erased_at >= at))
        AND NOT EXISTS (SELECT FROM suppressions WHERE user_key = subject)
    GROUP BY subject, claimed ORDER BY subject, claimed {_MERGE}"""
# The clicks before a login become those of the user, and no longer those of the device, which others may share. A page
# moves only those of its own device.
JOIN: Final = f"""
    WITH owners AS (
        SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::boolean[])
            AS owner (device, user_key, of_page, claimed)
        WHERE NOT of_page OR EXISTS (
            SELECT FROM aliases WHERE anonymous_key = device AND aliases.user_key = owner.user_key
        ) AND NOT EXISTS (
            SELECT FROM aliases AS other WHERE other.anonymous_key = device AND other.user_key <> owner.user_key
                AND owner.claimed AND NOT other.claimed)
    ), moved AS (
        DELETE FROM session_profiles AS profile USING owners WHERE profile.subject = owners.device
        RETURNING owners.user_key, profile.claimed OR owners.claimed AS claimed, profile.items, profile.occurred_at,
            profile.kinds, profile.updated_at, profile.expires_at
    ), clicks AS (
        SELECT user_key, claimed, expires_at, item, coalesce(at, updated_at) AS at, kind, place
        FROM moved, unnest(items, moved.occurred_at, kinds) WITH ORDINALITY AS one (item, at, kind, place)
    )
    INSERT INTO session_profiles AS profile (subject, claimed, items, occurred_at, kinds, updated_at, expires_at)
    SELECT user_key, claimed, {_ARRAYS}, now(), max(expires_at)
    FROM clicks WHERE expires_at > now()
        AND NOT EXISTS (SELECT FROM users WHERE users.user_key = clicks.user_key AND NOT consent)
        AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = clicks.user_key)
    GROUP BY user_key, claimed ORDER BY user_key, claimed {_MERGE}"""
_VIEW: Final = "SELECT view_variants($1::text[], $2::text[], $3::text[])"
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
        await _view_variants(connection, fresh, effects)
        if charged := [one.charged for one in messages if one.charged]:
            await connection.execute(_CHARGE, *map(list, zip(*charged, strict=True)))
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
    rows = await connection.fetch(_INSERT, *values)
    return {(row["source"], row["message_id"]): first[row["source"], row["message_id"]] for row in rows}


async def _digests(connection: asyncpg.Connection, messages: Sequence[Message]) -> dict[tuple[str, str], bytes | None]:
    sources, ids = zip(*(one.name for one in messages), strict=True)
    rows = await connection.fetch(_DIGESTS, list(sources), list(ids))
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
        await connection.execute(_REMEMBER, *map(list, zip(*rows, strict=True)))


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
        await connection.execute(_CONSENT, *map(list, zip(*answers, strict=True)))


async def _exclude(connection: asyncpg.Connection, messages: Sequence[Message]) -> None:
    """Hide what users do not want to see."""
    hidden = {
        (one.subject, entry["kind"], entry["value"])
        for one in messages
        if one.subject and one.consent is not False
        for entry in one.payload.get("exclusions", ())
    }
    if hidden:
        await connection.execute(_EXCLUDE, *map(list, zip(*sorted(hidden), strict=True)))


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
        await connection.execute(_LOCK_DEVICES, devices)
        await connection.execute(_OWN, devices, *values)
    moves = [(device, one.user_key, one.authority != SERVER, one.authority == CLAIM) for device, one in ordered]
    await connection.execute(JOIN, *map(list, zip(*moves, strict=True)))


async def _view_variants(connection: asyncpg.Connection, messages: Sequence[Message], effects: _Effects) -> None:
    """Store the variants that other programs showed; what a page claims of a user counts for its device."""
    viewed = [
        (*found, one.session_key if one.authority == CLAIM else one.subject)
        for one in messages
        if (found := effects[one.name].viewed) and one.consent is not False
    ]
    if viewed:
        await connection.execute(_VIEW, *map(list, zip(*sorted(viewed, key=str), strict=True)))


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
        await connection.execute(_PROFILE, *map(list, zip(*rows, strict=True)), PROFILE_LIFETIME)
