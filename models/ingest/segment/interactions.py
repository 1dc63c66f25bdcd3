"""Build rows from parsed Segment lines: interactions, catalogue updates and changes of items."""

import re
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.ingest import placeholder_ids as placeholders
from models.ingest.canonical_schema import ALIASES
from models.ingest.segment.fields import finite, pointers, product_ids, word
from models.ingest.source_config import LONGEST_ID
from models.primitives.arrow_sql import Query, texts

ITEM_ATTRIBUTES: Final = ("sku", "variant", "url", "image_url", "coupon")
_ORDER: Final = ("order_id", "orderId", "checkout_id", "cart_id")
_NEVER: Final = "'-infinity'::TIMESTAMPTZ"
_DESCRIBES: Final = f"""
    length(item_id) <= {LONGEST_ID} AND NOT list_contains({texts(placeholders.ITEMS)}, item_id)
    AND event_type IS DISTINCT FROM 'refund'
    AND coalesce(block.name, block.category, block.brand, block.price) IS NOT NULL"""
_NUMBERS: Final = {
    "price": "block.price",
    "quantity": "block.quantity",
    "line_value": "block.value",
    "total": "coalesce(whole.revenue, whole.subtotal, whole.total)",
    "rating": "whole.rating",
}


def entries(query: Query, lines: pa.Table) -> pa.Table:
    """Return one row per product of a line, numbered by `entry`; a refund without products refunds the whole order."""
    usual, version_1 = (", ".join(word(f"block.{name}") for name in product_ids(id_first=one)) for one in (False, True))
    by_id = f"CASE WHEN id_first THEN coalesce({version_1}) ELSE coalesce({usual}) END"
    order = f"coalesce({', '.join(word(f'whole.{name}') for name in _ORDER)})"
    visit = f"coalesce({word('visit')}, {word('whole.session_id')})"
    shown = "block.recommendation_id, block.recomm_id, whole.recommendation_id, whole.recomm_id"
    moved = "event_type IN ('purchase', 'refund', 'add_to_cart', 'remove_from_cart')"
    ordered = "event_type IN ('purchase', 'refund')"
    whole = f"event_type = '{columns.REFUND}' AND listed = 0"
    return query(
        f"""
        WITH products AS (
            SELECT * EXCLUDE blocks, len(blocks) AS entries, unnest(blocks) AS block,
                generate_subscripts(blocks, 1) AS entry
            FROM lines WHERE blocks IS NOT NULL
        ), typed AS (
            SELECT *, {", ".join(f"try_cast({value} AS DOUBLE) AS {name}" for name, value in _NUMBERS.items())}
            FROM products
        )
        SELECT row_number, entry,
            message_id || CASE WHEN entries > 1 THEN '#' || entry ELSE '' END AS event_id, user_id, is_device,
            CASE WHEN {ordered} THEN coalesce({order}, {visit}) ELSE coalesce({visit}, {order}) END AS session_id,
            coalesce({by_id}, CASE WHEN {whole} THEN '{columns.WHOLE_ORDER}' END) AS item_id,
            event_type, occurred_at, received_at,
            {finite("quantity")} AS quantity,
            coalesce({finite("line_value")},
                CASE WHEN {moved} THEN {finite("round(price * coalesce(quantity, 1), 6)")} END,
                CASE WHEN {ordered} AND entries = 1 THEN {finite("total")} END) AS value,
            {word("coalesce(block.currency, whole.currency)")} AS currency,
            CASE WHEN event_type = 'rating' THEN {finite("rating")} END AS rating,
            {word("coalesce(block.placement, whole.placement)")} AS placement,
            try_cast(block.position AS INTEGER) AS position,
            {word(f"coalesce({shown})")} AS recommendation_id,
            consent, user_agent, ip, {finite("price")} AS price, block
        FROM typed
        """,
        lines=lines,
    )


def items(query: Query, entries: pa.Table) -> pa.Table:
    """Return catalogue updates from product blocks: one row per item with the latest value of each column.

    `said_at` has the time of each value, unless all have the time `occurred_at`. Refunds are ignored, because they
    hold old prices, and so are placeholder ids.
    """
    texts_ = {columns.TITLE: "block.name", columns.CATEGORY: "block.category", columns.BRAND: "block.brand"}
    texts_ |= {name: f"block.{name}" for name in ITEM_ATTRIBUTES}
    money = {columns.PRICE: "price", columns.CURRENCY: "CASE WHEN price IS NOT NULL THEN currency END"}
    raw = ", ".join(f"{value} AS {name}" for name, value in (texts_ | money).items())
    names = (*texts_, *money)
    words = ", ".join(f"{word(name)} AS {name}" for name in texts_)
    # Of values with the same time the greatest counts, so the order of lines does not matter.
    latest = ", ".join(f"max((moment, {name})) FILTER (WHERE {name} IS NOT NULL) AS {name}" for name in names)
    values = ", ".join(f"{name}[2] AS {name}" for name in names if name not in ITEM_ATTRIBUTES)
    attributes = ", ".join(f"{name} := {name}[2]" for name in ITEM_ATTRIBUTES)
    apart = " OR ".join(f"{name}[1] < moment" for name in names)
    times = ", ".join(f"{name} := nullif({name}[1], {_NEVER})" for name in names)
    # Most blocks repeat others: it is cheaper to process each different one once.
    return query(
        f"""
        WITH blocks AS (
            SELECT item_id, {raw}, coalesce(max(occurred_at), {_NEVER}) AS moment,
                max((coalesce(epoch_us(occurred_at), 0), row_number, entry)) AS place
            FROM entries
            WHERE {_DESCRIBES}
            GROUP BY ALL
        ), cleaned AS (
            SELECT item_id, moment, place, {words}, {", ".join(money)} FROM blocks
        ), latest AS (
            SELECT item_id, {latest}, max(moment) AS moment, max(place) AS place FROM cleaned GROUP BY item_id
        )
        SELECT place[2] AS row_number, item_id, {values}, struct_pack({attributes}) AS attributes,
            nullif(moment, {_NEVER}) AS occurred_at, CASE WHEN {apart} THEN struct_pack({times}) END AS said_at
        FROM latest ORDER BY item_id
        """,
        entries=entries,
    )


def item_changes(query: Query, entries: pa.Table) -> pa.Table:
    """Return the changes of values in product blocks: `item_id`, `known_at` and the values of `CHANGING`.

    One row per item and moment, in order of time. A null value is unchanged. A block that arrived after a newer one
    changes nothing.
    """
    read = {columns.TITLE: "block.name", columns.CATEGORY: "block.category", columns.BRAND: "block.brand"}
    raw = ", ".join(f"{value} AS {name}" for name, value in (read | {columns.PRICE: "price"}).items())
    words = ", ".join(f"max({word(name)}) AS {name}" for name in read)
    names = ", ".join(columns.CHANGING)
    current = ", ".join(
        f"CASE WHEN occurred_at >= max(occurred_at) FILTER (WHERE {name} IS NOT NULL) OVER times THEN {name} END "
        f"AS {name}"
        for name in columns.CHANGING
    )
    starts = ", ".join(
        f"CASE WHEN {name} IS DISTINCT FROM lag({name} IGNORE NULLS) OVER times THEN {name} END AS {name}"
        for name in columns.CHANGING
    )
    return query(
        f"""
        WITH blocks AS (
            SELECT item_id, {raw}, coalesce(occurred_at, {_NEVER}) AS occurred_at,
                coalesce(greatest(occurred_at, received_at), {_NEVER}) AS known_at
            FROM entries WHERE {_DESCRIBES}
        ), firsts AS (
            -- Most items always have the same description: one row of them is enough.
            SELECT item_id, {names}, min(occurred_at) AS occurred_at, min(known_at) AS known_at FROM blocks
            GROUP BY item_id, {names} QUALIFY count(*) OVER (PARTITION BY item_id) = 1
        ), moments AS (
            SELECT item_id, occurred_at, known_at, {words}, max({columns.PRICE}) AS {columns.PRICE} FROM (
                SELECT item_id, occurred_at, known_at, {names} FROM firsts
                UNION ALL
                SELECT item_id, occurred_at, known_at, {names} FROM blocks ANTI JOIN firsts USING (item_id)
            ) GROUP BY item_id, occurred_at, known_at
        ), newest AS (
            SELECT item_id, occurred_at, known_at, {current} FROM moments
            WINDOW times AS (PARTITION BY item_id ORDER BY known_at, occurred_at ROWS UNBOUNDED PRECEDING)
        ), starts AS (
            SELECT item_id, nullif(known_at, {_NEVER}) AS known_at, {starts} FROM newest
            WINDOW times AS (PARTITION BY item_id ORDER BY known_at, occurred_at)
        )
        SELECT * FROM starts WHERE coalesce({", ".join(f"{name}::VARCHAR" for name in columns.CHANGING)}) IS NOT NULL
        ORDER BY item_id, known_at NULLS FIRST
        """,
        entries=entries,
    )


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
