"""Find which ids Mixpanel merged: by identity events, and by events that name a device and a user."""

from typing import Final

import pyarrow as pa

from models.ingest.canonical_schema import ALIASES
from models.ingest.mixpanel.sql_values import DEVICE, bare
from models.primitives.arrow_sql import Query

_LOOKS_LIKE_DEVICE: Final = "[0-9a-fA-F]+(-[0-9a-fA-F]+){4}"
"""The ids that Mixpanel's libraries generate: UUIDs, and five groups of hexadecimal digits of the older ones."""


def _is_device(value: str) -> str:
    return f"(starts_with({value}, '{DEVICE}') OR regexp_full_match({value}, '{_LOOKS_LIKE_DEVICE}'))"


def aliases(query: Query, read: pa.Table) -> pa.Table:
    """Return pairs of a device or an earlier id and the user that it belongs to, each once.

    `$merge` does not state which of its two ids is the user: it is the one that no library generated, otherwise the
    first. Only `$device_id` is surely a device. Every other id may be one of a device or of a user, and both are that
    user's.
    """
    swapped = f"{_is_device('first_id')} AND NOT {_is_device('second_id')}"
    rows = query(
        f"""
        WITH pairs AS (
            SELECT row_number, occurred_at, anon_id AS anonymous_id, identified_id AS user_id FROM read
            WHERE event = '$identify'
            UNION ALL
            SELECT row_number, occurred_at, distinct_id, alias_id FROM read WHERE event = '$create_alias'
            UNION ALL
            SELECT row_number, occurred_at, {bare(f"CASE WHEN {swapped} THEN first_id ELSE second_id END")},
                {bare(f"CASE WHEN {swapped} THEN second_id ELSE first_id END")}
            FROM read WHERE event = '$merge'
            UNION ALL
            -- A merge replaces the distinct id of earlier events.
            SELECT row_number, occurred_at, original_id, distinct_id FROM read WHERE kind <> 'alias'
        ), merged AS (SELECT * FROM pairs WHERE anonymous_id <> user_id), joined AS (
            SELECT row_number, occurred_at, anonymous_id, false AS is_device, user_id FROM merged
            UNION ALL SELECT row_number, occurred_at, anonymous_id, true, user_id FROM merged
            UNION ALL SELECT row_number, occurred_at, user_id, true, user_id FROM merged
            UNION ALL SELECT row_number, occurred_at, anonymous_id, true, known_id FROM read
            WHERE kind <> 'alias' AND anonymous_id IS NOT NULL AND known_id IS NOT NULL
        )
        SELECT min(row_number) AS row_number, anonymous_id, is_device, user_id, max(occurred_at) AS occurred_at
        FROM joined GROUP BY anonymous_id, is_device, user_id ORDER BY row_number, anonymous_id, is_device
        """,
        read=read.filter(read["fault"].is_null()),
    )
    return rows.cast(ALIASES)
