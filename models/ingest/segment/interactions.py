"""Build rows from parsed Segment lines: interactions, catalogue updates and changes of items."""

import re
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.ingest import placeholder_ids as placeholders
from models.ingest.canonical_schema import ALIASES
from models.ingest.segment.fields import pointers, product_ids, word
from models.ingest.source_config import LONGEST_ID
from models.primitives.arrow_sql import Query, statement_of, texts

_HERE: Final = Path(__file__).parent
ITEM_ATTRIBUTES: Final = ("sku", "variant", "url", "image_url", "coupon")
_ORDER: Final = ("order_id", "orderId", "checkout_id", "cart_id")
_NEVER: Final = "'-infinity'::TIMESTAMPTZ"
_DESCRIBES: Final = f"""
    length(item_id) <= {LONGEST_ID} AND NOT list_contains({texts(placeholders.ITEMS)}, item_id)
    AND event_type IS DISTINCT FROM 'refund'
    AND coalesce(block.name, block.category, block.brand, block.price) IS NOT NULL"""
_TEXTS: Final = MappingProxyType(
    {columns.TITLE: "block.name", columns.CATEGORY: "block.category", columns.BRAND: "block.brand"}
)


def entries(query: Query, lines: pa.Table) -> pa.Table:
    """Return one row per product of a line, numbered by `entry`; a refund without products refunds the whole order."""
    usual, version_1 = (", ".join(word(f"block.{name}") for name in product_ids(id_first=one)) for one in (False, True))
    shown = "block.recommendation_id, block.recomm_id, whole.recommendation_id, whole.recomm_id"
    statement = statement_of(
        _HERE / "entries.sql",
        usual=usual,
        version_1=version_1,
        order=f"coalesce({', '.join(word(f'whole.{name}') for name in _ORDER)})",
        visit=f"coalesce({word('visit')}, {word('whole.session_id')})",
        whole_order=columns.WHOLE_ORDER,
        currency=word("coalesce(block.currency, whole.currency)"),
        placement=word("coalesce(block.placement, whole.placement)"),
        recommendation=word(f"coalesce({shown})"),
    )
    return query(statement, lines=lines)


def items(query: Query, entries: pa.Table) -> pa.Table:
    """Return catalogue updates from product blocks: one row per item with the latest value of each column.

    `said_at` has the time of each value, unless all have the time `occurred_at`. Refunds are ignored, because they
    hold old prices, and so are placeholder ids. Of values with the same time the greatest counts, so the order of
    lines does not matter.
    """
    texts_ = {**_TEXTS, **{name: f"block.{name}" for name in ITEM_ATTRIBUTES}}
    money = {columns.PRICE: "price", columns.CURRENCY: "CASE WHEN price IS NOT NULL THEN currency END"}
    names = (*texts_, *money)
    statement = statement_of(
        _HERE / "items.sql",
        never=_NEVER,
        describes=_DESCRIBES,
        raw=", ".join(f"{value} AS {name}" for name, value in (texts_ | money).items()),
        words=", ".join(f"{word(name)} AS {name}" for name in texts_),
        money=", ".join(money),
        latest=", ".join(f"max((moment, {name})) FILTER (WHERE {name} IS NOT NULL) AS {name}" for name in names),
        values=", ".join(f"{name}[2] AS {name}" for name in names if name not in ITEM_ATTRIBUTES),
        attributes=", ".join(f"{name} := {name}[2]" for name in ITEM_ATTRIBUTES),
        apart=" OR ".join(f"{name}[1] < moment" for name in names),
        times=", ".join(f"{name} := nullif({name}[1], {_NEVER})" for name in names),
    )
    return query(statement, entries=entries)


def item_changes(query: Query, entries: pa.Table) -> pa.Table:
    """Return the changes of values in product blocks: `item_id`, `known_at` and the values of `CHANGING`.

    One row per item and moment, in order of time. A null value is unchanged. A block that arrived after a newer one
    changes nothing.
    """
    newest = "CASE WHEN occurred_at >= max(occurred_at) FILTER (WHERE {0} IS NOT NULL) OVER times THEN {0} END AS {0}"
    start = "CASE WHEN {0} IS DISTINCT FROM lag({0} IGNORE NULLS) OVER times THEN {0} END AS {0}"
    statement = statement_of(
        _HERE / "item_changes.sql",
        never=_NEVER,
        describes=_DESCRIBES,
        raw=", ".join(f"{value} AS {name}" for name, value in {**_TEXTS, columns.PRICE: "price"}.items()),
        words=", ".join(f"max({word(name)}) AS {name}" for name in _TEXTS),
        names=", ".join(columns.CHANGING),
        current=", ".join(map(newest.format, columns.CHANGING)),
        starts=", ".join(map(start.format, columns.CHANGING)),
        texts=", ".join(f"{name}::VARCHAR" for name in columns.CHANGING),
    )
    return query(statement, entries=entries)


_PERSONAL: Final = re.compile("mail|name|phone|mobile|address|street|avatar")
"""Names of traits that identify a person: they are never stored, in any spelling."""


def allowed(traits: Sequence[str]) -> list[str]:
    """Return the allowed traits, each once: never e-mail, name, phone or address, even if the mapping names them."""
    return [name for name in dict.fromkeys(traits) if not _PERSONAL.search(re.sub("[^a-z]", "", name.lower()))]


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
