"""Which of a user's answers counts, whichever came in first; and what a refusal takes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, text

from infra.database.bulk_copy import array, read_table
from infra.installation import Installation
from models.primitives.arrow_sql import query, texts
from tasks.ingest.undo import statements

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
"""SQL for what a user's columns become in an upsert. What is declared for everybody changes nothing for who is known;
an answer of their own does, if it is newer."""
SINCE: Final = """(users.refused_at IS NULL
    OR at > to_char(users.refused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))"""
"""SQL: was what was said `at` this time said after the user's last refusal?"""
# The keys as one text: a list of so many parameters takes PostgreSQL far longer to read.
_ANSWERS_OF: Final = text("""
    SELECT users.user_key, consent, identities.user_key IS NOT NULL
    FROM users LEFT JOIN identity.users AS identities USING (user_key)
    WHERE users.user_key = ANY(CAST(:keys AS text[])) AND (NOT consent OR batch_id <> :batch_id)""")
_KINDS: Final = {"user_key": pa.string(), "agreed": pa.bool_(), "introduced": pa.bool_()}
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
    """Which of some users have agreed, and which have refused; of the others nothing is known."""

    agreed: pa.Array
    refused: pa.Array
    introduced: pa.Array
    """Who has agreed, and whose raw id is stored."""


def answers_of(connection: Connection, keys: pa.ChunkedArray, batch_id: str) -> Answers:
    """Return what is known of these users; who only became known by the batch has not agreed.

    Otherwise a batch that goes on where an earlier run stopped would see other answers than that run.
    """
    asked = _ANSWERS_OF.bindparams(keys=array(pc.drop_null(pc.unique(keys))), batch_id=batch_id)
    found = read_table(connection, asked, _KINDS)
    agreed = found["agreed"]
    chosen = (agreed, pc.invert(agreed), pc.and_(agreed, found["introduced"]))
    return Answers(*(found["user_key"].filter(those).combine_chunks() for those in chosen))


def withdraw(connection: Connection, keys: list[str]) -> None:
    """Forget the traits and devices that users told before they refused: an agreement later on begins anew."""
    if not keys:
        return
    statements.strip(connection, keys)
    for statement in _WITHDRAW:
        connection.execute(text(statement), {"keys": keys})


def agreed_after(
    installation: Installation, refusals: Sequence[tuple[str, datetime]], without: str = ""
) -> list[dict[str, Any]]:
    """Refusals (of whom, when) after which the user agreed by an event of the lake, and the last time of that.

    Events of the batch `without` do not count.
    """
    if not refusals:
        return []
    keys, moments = zip(*refusals, strict=True)
    paths = installation.lake.event_files(since=min(moments).astimezone(UTC).isoformat()[:7])
    if not paths:
        return []
    said = {"user_key": pa.array(keys, pa.string()), "observed_at": pa.array(moments, pa.timestamp("us", tz="UTC"))}
    statement = f"""
        WITH events AS (
            SELECT user_key, occurred_at, consent, batch_id FROM (
                SELECT NULL::BOOLEAN AS consent WHERE false UNION ALL BY NAME
                SELECT * FROM read_parquet({texts(paths)}, union_by_name = true)  -- of an earlier version: no consent
            )
        )
        SELECT user_key, observed_at, max(occurred_at) AS agreed_at FROM events
        JOIN said USING (user_key) WHERE events.consent AND events.occurred_at > said.observed_at
            AND batch_id <> {texts([without])}[1]
        GROUP BY ALL
    """
    agreements: list[dict[str, Any]] = query(statement, said=pa.table(said)).to_pylist()
    return agreements
