"""SQL that stores messages of the inbox and applies what must count at once."""

from typing import Final

from models.columns import PURCHASE

LONGEST_PROFILE: Final = 50
"""The items that a session profile holds, besides those that were bought."""
MOST_PURCHASES: Final = 500
"""The purchases that a session profile holds: clicks do not displace them, or bought items would be offered again."""
INSERT: Final = """
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
DIGESTS: Final = """
    SELECT source, message_id, digest FROM event_inbox
    JOIN unnest($1::text[], $2::text[]) AS message (source, message_id) USING (source, message_id)"""
# The raw id of somebody who never agreed is stored nowhere.
# The last statement of a transaction, because it locks what all processes count.
CHARGE: Final = """
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
REMEMBER: Final = """
    SELECT identity.remember_user(user_key, user_id, key_version)
    FROM unnest($1::text[], $2::text[], $3::int[], $4::boolean[]) AS known (user_key, user_id, key_version, agrees)
    WHERE agrees OR EXISTS (SELECT FROM users WHERE users.user_key = known.user_key AND consent)"""
LOCK_DEVICES: Final = """
    SELECT pg_advisory_xact_lock(hashtextextended(device, 0)) FROM unnest($1::text[]) AS device ORDER BY device"""
# The first page that names the user of a device is the one that counts; a signature outranks a claim. The move into
# the lake repeats this statement (`tasks/ingest/rows/apply.py`).
OWN: Final = """
    INSERT INTO aliases AS known (anonymous_key, user_key, occurred_at, batch_id, claimed)
    SELECT device, stated.user_key, least(at, now()), '', claims
    FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::boolean[]) AS stated (device, user_key, at, claims)
    WHERE NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = stated.user_key)
        AND NOT EXISTS (SELECT FROM users WHERE users.user_key = stated.user_key AND NOT consent)
        AND NOT EXISTS (SELECT FROM aliases AS other WHERE other.anonymous_key = stated.device
            AND other.user_key <> stated.user_key AND (claims OR NOT other.claimed))
    ON CONFLICT (anonymous_key, user_key) DO UPDATE SET claimed = known.claimed AND excluded.claimed
    WHERE known.claimed AND NOT excluded.claimed"""
CONSENT: Final = """
    SELECT state_consent(user_key, agrees, least(at, now()), origin)
    FROM unnest($1::text[], $2::boolean[], $3::timestamptz[], $4::text[]) AS answer (user_key, agrees, at, origin)"""
EXCLUDE: Final = """
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
PROFILE: Final = f"""
    INSERT INTO session_profiles AS profile (subject, claimed, items, occurred_at, kinds, updated_at, expires_at)
    SELECT subject, claimed, {_ARRAYS}, now(), max(at) + $7::interval
    FROM (
        SELECT subject, claimed, agrees, item, least(to_timestamp(at), now()) AS at, kind, place,
            row_number() OVER (PARTITION BY subject, claimed, {_BOUGHT} ORDER BY at DESC, place DESC) AS age
        FROM unnest($1::text[], $2::boolean[], $3::text[], $4::float8[], $5::text[], $6::boolean[])
            WITH ORDINALITY AS one (subject, claimed, item, at, kind, agrees, place)) AS acted
    WHERE {_KEPT} AND at > now() - $7::interval
        AND (agrees OR EXISTS (SELECT FROM users WHERE user_key = subject AND consent))
        AND NOT EXISTS (SELECT FROM users WHERE user_key = subject AND NOT consent)
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
LATEST_ITEMS: Final = """
    SELECT subject, items, kinds FROM session_profiles WHERE subject = ANY($1::text[]) AND expires_at > now()
    ORDER BY updated_at"""
