"""Read Segment's identify and alias calls: allowed traits, and ids of the same person."""

import re
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.ingest.canonical_schema import ALIASES
from models.ingest.segment.fields import pointers, word
from models.primitives.arrow_sql import Query

_NEVER: Final = re.compile("mail|name|phone|mobile|address|street|avatar")
"""Names of traits that identify a person: they are never stored, in any spelling."""


def allowed(traits: Sequence[str]) -> list[str]:
    """Return the allowed traits, each once: never e-mail, name, phone or address, even if the mapping names them."""
    return [name for name in dict.fromkeys(traits) if not _NEVER.search(re.sub("[^a-z]", "", name.lower()))]


# A list of plain values is stored as JSON; an object could hold an address, so it is not stored.
_VALUE: Final = f"""CASE json_type(value)
    WHEN 'OBJECT' THEN NULL
    WHEN 'ARRAY' THEN CASE WHEN contains(value, '{{') OR contains(value, '@') THEN NULL ELSE value::VARCHAR END
    ELSE CASE WHEN contains(value, '@') THEN NULL ELSE {word("value ->> '$'")} END END"""


def users(query: Query, people: pa.Table, traits: Sequence[str]) -> pa.Table:
    """Return one row per identify call with a user; `attributes` are the allowed traits, as text."""
    names = allowed(traits)
    values = f"list_transform(json_extract(traits, {pointers(names)}), lambda value: {_VALUE})" if names else "[]"
    rows = query(
        f"""
        SELECT row_number, user_id, is_device, occurred_at, consent, {values}::VARCHAR[] AS trait_values
        FROM people WHERE kind = 'identify' AND user_id IS NOT NULL ORDER BY row_number
        """,
        people=people,
    )
    trait_values = rows["trait_values"].combine_chunks()
    empty = pa.array([], pa.string())
    fields = [pc.list_element(trait_values, place) if len(rows) else empty for place in range(len(names))]
    plain = pa.StructArray.from_arrays(fields, names) if names else pa.array([{}] * len(rows), pa.struct([]))
    return rows.drop_columns(["trait_values"]).append_column(columns.ATTRIBUTES, plain)


def aliases(query: Query, people: pa.Table) -> pa.Table:
    """Return pairs of a device or earlier id and the user that it belongs to.

    An alias does not state whether the previous id is that of a device or of a user, so both are pairs.
    """
    rows = query(
        """
        WITH pairs AS (
            SELECT row_number, CASE WHEN kind = 'alias' THEN coalesce(previous_id, anonymous_id) ELSE anonymous_id END
                AS anonymous_id, true AS is_device, known_id AS user_id, occurred_at
            FROM people WHERE kind IN ('identify', 'alias')
            UNION ALL SELECT row_number, previous_id, false, known_id, occurred_at FROM people WHERE kind = 'alias'
        )
        SELECT * FROM pairs WHERE anonymous_id IS NOT NULL AND user_id IS NOT NULL
            AND (is_device OR anonymous_id <> user_id) ORDER BY row_number, is_device
        """,
        people=people,
    )
    return rows.cast(ALIASES)
