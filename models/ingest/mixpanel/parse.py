"""Parse lines of Mixpanel into canonical rows. Arrow in, Arrow out; no line is lost."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.canonical_schema import ALIASES, ParsedLines
from models.ingest.mixpanel import json_lines
from models.ingest.mixpanel.json_lines import Reading
from models.ingest.mixpanel.sql_values import DEVICE, bare
from models.ingest.normalisation import Spelling, nonzero_counts
from models.ingest.segment import identities as segment_identities
from models.ingest.segment.parse import canonical, decoded
from models.primitives.arrow_sql import Query, connected

_NO_SYNONYMS: Final = Spelling()
_LOOKS_LIKE_DEVICE: Final = "[0-9a-fA-F]+(-[0-9a-fA-F]+){4}"
"""The ids that Mixpanel's libraries generate: UUIDs, and five groups of hexadecimal digits of the older ones."""


def parse_lines(
    lines: pa.Table, reading: Reading, *, traits: Sequence[str] = (), spelling: Spelling = _NO_SYNONYMS
) -> ParsedLines:
    """Parse lines: `row_number` (int64, each once) and `text` (the line without its end; text or bytes).

    `traits` is the allow-list of profile properties. No content of a line raises an error.
    """
    with connected() as query:
        read = json_lines.read(query, decoded(query, lines), reading)
        users = segment_identities.users(query, read.filter(pc.equal(read["kind"], "identify")), traits)
        parsed = canonical(query, read, users, aliases(query, read), spelling)
        unusable = int(pc.sum(read["insert_id_unusable"]).as_py() or 0)
        return replace(parsed, cleaned=parsed.cleaned | nonzero_counts(insert_id_unusable=unusable))


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
