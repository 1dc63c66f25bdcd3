"""Decides which of a user's answers about consent counts, and applies a refusal."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, text

from infra.database.bulk_copy import array, read_table
from infra.installation import Installation
from models import columns
from models.primitives.arrow_sql import query, texts
from tasks.ingest.ledger_records import Agreement
from tasks.ingest.rows import statements

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
SINCE: Final = """(users.refused_at IS NULL
    OR at > to_char(users.refused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))"""
"""SQL: whether the time `at` is after the user's last refusal."""
# The keys as one text, because PostgreSQL needs far longer to read a long list of parameters.
_ANSWERS_OF: Final = text("""
    SELECT users.user_key, consent, identities.user_key IS NOT NULL, NOT consent AND consent_at IS NULL
    FROM users LEFT JOIN identity.users AS identities USING (user_key)
    WHERE users.user_key = ANY(CAST(:keys AS text[])) AND (NOT consent OR batch_id <> :batch_id)""")
_KINDS: Final = {"user_key": pa.string(), "agreed": pa.bool_(), "introduced": pa.bool_(), "unanswered": pa.bool_()}
_WITHDRAW: Final = (
    f"""
    UPDATE users SET (attributes, field_timestamps) = (
        SELECT coalesce(jsonb_object_agg(key, attributes -> key), '{{}}'), coalesce(jsonb_object_agg(key, at), '{{}}')
        FROM (SELECT key, value COLLATE "C" AS at FROM jsonb_each_text(field_timestamps)) AS stated
        WHERE consent AND {SINCE})
    WHERE user_key = ANY(:keys) AND refused_at IS NOT NULL AND attributes <> '{{}}'""",
    """
    DELETE FROM user_history AS entry USING users WHERE users.user_key = ANY(:keys) AND entry.user_key = users.user_key
        AND (NOT users.consent OR entry.since <= users.refused_at) AND users.refused_at IS NOT NULL""",
    """
    DELETE FROM aliases USING users WHERE users.user_key = ANY(:keys) AND aliases.user_key = users.user_key
        AND (NOT users.consent OR coalesce(aliases.occurred_at, '-infinity') <= users.refused_at)
        AND users.refused_at IS NOT NULL""",
)


@dataclass(frozen=True)
class Answers:
    """The users with an answer about consent."""

    agreed: pa.Array
    refused: pa.Array
    introduced: pa.Array
    """Users who agreed and whose raw id is stored."""
    unanswered: pa.Array
    """Those of `refused` who never answered."""


def answers_of(connection: Connection, keys: pa.ChunkedArray, batch_id: str) -> Answers:
    """Return the answers of these users; a user whom the batch introduced has not agreed.

    Otherwise a batch that continues where an earlier run stopped would see other answers than that run.
    """
    statement = _ANSWERS_OF.bindparams(keys=array(pc.drop_null(pc.unique(keys))), batch_id=batch_id)
    rows = read_table(connection, statement, _KINDS)
    agreed = rows["agreed"]
    masks = (agreed, pc.invert(agreed), pc.and_(agreed, rows["introduced"]), rows["unanswered"])
    return Answers(*(rows["user_key"].filter(mask).combine_chunks() for mask in masks))


def withdraw(connection: Connection, keys: list[str]) -> None:
    """Delete the traits and devices that users stated before they refused."""
    if not keys:
        return
    statements.strip(connection, keys)
    for statement in _WITHDRAW:
        connection.execute(text(statement), {"keys": keys})


def agreed_after(
    installation: Installation, refusals: Sequence[tuple[str, datetime]], without: str = ""
) -> list[Agreement]:
    """Return the latest agreements by events of the lake after refusals (user and time).

    Events of the batch `without` do not count.
    """
    if not refusals:
        return []
    keys, moments = zip(*refusals, strict=True)
    paths = installation.lake.event_files(since=min(moments).astimezone(UTC).isoformat()[:7])
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
            AND batch_id <> {texts([without])}[1]
        GROUP BY ALL
    """
    return [Agreement(**row) for row in query(statement, refused=refused).to_pylist()]
