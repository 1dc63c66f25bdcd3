"""Who people are, by Segment's identify and alias calls: traits that may be kept, and ids that are one person."""

import re
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.ingest.canonical_schema import ALIASES
from models.ingest.segment.sql_values import pointers, word
from models.primitives.arrow_sql import Query

_NEVER: Final = re.compile("mail|name|phone|mobile|address|street|avatar")
"""What identifies a person has no place here, under whatever spelling it is asked for."""


def allowed(traits: Sequence[str]) -> list[str]:
    """The traits that may be kept, each once: never e-mail, name, phone or address, even when they are asked for."""
    return [name for name in dict.fromkeys(traits) if not _NEVER.search(re.sub("[^a-z]", "", name.lower()))]


# A list is kept as JSON when it holds plain values; an object could hold an address, so it is not kept.
_VALUE: Final = f"""CASE json_type(value)
    WHEN 'OBJECT' THEN NULL
    WHEN 'ARRAY' THEN CASE WHEN contains(value, '{{') OR contains(value, '@') THEN NULL ELSE value::VARCHAR END
    ELSE CASE WHEN contains(value, '@') THEN NULL ELSE {word("value ->> '$'")} END END"""


def users(query: Query, people: pa.Table, traits: Sequence[str]) -> pa.Table:
    """One row per identify call that names somebody; `attributes` are the allowed traits, as text."""
    kept = allowed(traits)
    values = f"list_transform(json_extract(traits, {pointers(kept)}), lambda value: {_VALUE})" if kept else "[]"
    rows = query(
        f"""
        SELECT row_number, user_id, anonymous_id, occurred_at, consent, {values}::VARCHAR[] AS said
        FROM people WHERE kind = 'identify' AND user_id IS NOT NULL ORDER BY row_number
        """,
        people=people,
    )
    said = rows["said"].combine_chunks()
    fields = [_elements(said, place) for place in range(len(kept))]
    plain = pa.StructArray.from_arrays(fields, kept) if kept else pa.array([{}] * len(rows), pa.struct([]))
    return rows.drop_columns(["said"]).append_column(columns.ATTRIBUTES, plain)


def _elements(values: pa.ListArray, place: int) -> pa.Array:
    return pc.list_element(values, place) if len(values) else pa.array([], pa.string())


def aliases(query: Query, people: pa.Table) -> pa.Table:
    """Which anonymous id, or earlier user id, became which user."""
    rows = query(
        """
        SELECT row_number, CASE WHEN kind = 'alias' THEN coalesce(previous_id, anonymous_id) ELSE anonymous_id END
            AS anonymous_id, known_id AS user_id, occurred_at
        FROM people WHERE kind IN ('identify', 'alias') ORDER BY row_number
        """,
        people=people,
    )
    joined = pc.fill_null(pc.not_equal(rows["anonymous_id"], rows["user_id"]), False)
    return rows.filter(joined).cast(ALIASES)
