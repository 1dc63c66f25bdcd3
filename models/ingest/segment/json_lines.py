"""Parse Segment lines: their faults, their meanings, and their products."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa

from models.ingest.segment.event_types import ACTION_FIRST, Meaning
from models.ingest.segment.page_rules import PageRule
from models.ingest.segment.sql_values import SPACE, consent, instant, pointers, word
from models.primitives.arrow_sql import Query, texts

BLOCK: Final = (
    *("product_id", "sku", "id", "name", "category", "brand", "variant", "price", "quantity", "value", "currency"),
    *("coupon", "position", "url", "image_url", "placement", "recommendation_id", "recomm_id"),
)
"""The members of a product block that are read."""
EVENT_MEMBERS: Final = (
    *("order_id", "orderId", "checkout_id", "cart_id", "session_id"),
    *("rating", "revenue", "subtotal", "total"),
)
WHOLE: Final = (*EVENT_MEMBERS, "currency", "placement", "recommendation_id", "recomm_id")
"""The members of a whole event that are read."""
_ENVELOPE: Final = (
    *("type", "event", "messageId", "userId", "anonymousId", "previousId", "timestamp", "receivedAt", "name"),
)
_CONTEXT: Final = ("sessionId", "userAgent", "ip")
TYPES: Final = ("track", "page", "screen", "identify", "group", "alias")


def _structure() -> str:
    """Return the structure that extracts all members of a line in one parse."""
    block = dict.fromkeys(BLOCK, "VARCHAR")
    properties = {**dict.fromkeys((*BLOCK, *EVENT_MEMBERS, "path"), "VARCHAR"), "products": [block]}
    context = {**dict.fromkeys(_CONTEXT, "VARCHAR"), "consent": {"categoryPreferences": "JSON"}}
    envelope = {**dict.fromkeys(_ENVELOPE, "VARCHAR"), "traits": "JSON"}
    return json.dumps({**envelope, "context": context, "properties": properties})


def meaning_table(meanings: Mapping[str, Meaning]) -> tuple[str, str]:
    """Return SQL for the table of meanings: the enum of its names, and the meanings in the order of that enum.

    A join with a table would lose the order of the lines.
    """
    structs = [
        f"{{'event_type': {_literal(meaning.event_type)}, 'kind': {_literal(meaning.kind)}, 'many': {meaning.many}, "
        f"'reads': {meaning.products}, 'id_first': {name in ACTION_FIRST}}}"
        for name, meaning in meanings.items()
    ]
    return f"ENUM ({', '.join(map(_literal, meanings))})", f"[{', '.join(structs)}]"


def _literal(value: str | None) -> str:
    return "NULL::VARCHAR" if value is None else texts([value])[1:-1]


# `sound` is the text if it is valid JSON, so functions on it cannot fail.
_FAULT: Final = f"""CASE
    WHEN sound IS NULL THEN CASE
        WHEN text IS NULL AND raw IS NOT NULL THEN 'not_utf8'
        WHEN coalesce(trim(text, {SPACE}), '') = '' THEN 'blank'
        ELSE 'not_json' END
    WHEN type IS NULL THEN CASE WHEN json_type(sound) = 'OBJECT' THEN 'type_missing' ELSE 'not_an_object' END
    WHEN type NOT IN {TYPES} THEN 'type_unknown'
    WHEN type = 'track' AND event_name IS NULL THEN 'event_missing'
    WHEN reads AND p.products IS NULL AND (many OR NOT names_product) THEN CASE
        WHEN json_type(sound, '$.properties') NOT IN ('OBJECT', 'NULL') THEN 'properties_not_an_object'
        WHEN json_type(sound, '$.properties.products') NOT IN ('ARRAY', 'NULL') THEN 'products_not_a_list' END
    END"""


def _statement(rule: PageRule | None, meanings: Mapping[str, Meaning], categories: Sequence[str]) -> str:
    names, structs = meaning_table(meanings)
    own = ", ".join(f"{name} := p.{name}" for name in BLOCK)
    page = ", ".join(f"{name} := {'page_item' if name == 'product_id' else 'NULL::VARCHAR'}" for name in BLOCK)
    page_item = "NULL::VARCHAR" if rule is None else rule.item("p.path", "p.url", "message.name")
    whole = ", ".join(f"{name} := p.{name}" for name in WHOLE)
    answers = f"json_extract_string(message.context.consent.categoryPreferences, {pointers(categories)})"
    kind = "coalesce(meaning.kind, CASE type WHEN 'track' THEN 'unknown_event' ELSE type END)"
    visited = "NULL" if rule is None else f"'{rule.event_type}'"
    return f"""
    WITH parsed AS (
        SELECT row_number, raw, text, sound, json_transform(sound, '{_structure()}') AS message
        FROM (SELECT *, CASE WHEN json_valid(text) THEN text END AS sound FROM lines)
    ), typed AS (
        SELECT *, message.properties AS p, lower(message.type) AS type,
            CASE WHEN lower(message.type) = 'track' THEN translate(lower({word("message.event")}), ' _-', '') END
                AS event_name
        FROM parsed
    ), looked_up AS (
        SELECT *, {structs}[enum_code(try_cast(event_name AS {names}))::INTEGER + 1] AS meaning FROM typed
    ), resolved AS (
        SELECT *, coalesce(meaning.many, false) AS many, coalesce(meaning.reads, false) AS reads,
            coalesce({word("p.product_id")}, {word("p.sku")}, {word("p.id")}) IS NOT NULL AS names_product,
            coalesce(len(p.products), 0) AS entries,
            CASE WHEN type IN ('page', 'screen') THEN {page_item} END AS page_item
        FROM looked_up
    ), checked AS (
        SELECT *, {_FAULT} AS fault, {word("message.userId")} AS known_id,
            {word("message.anonymousId")} AS anonymous_id, {answers} AS answers
        FROM resolved
    )
    SELECT row_number, fault, CASE WHEN fault IS NOT NULL THEN sha256(raw) END AS sha256, {kind} AS kind,
        coalesce(known_id, anonymous_id) AS user_id, known_id, anonymous_id,
        known_id IS NULL AND anonymous_id IS NOT NULL AS is_device,
        {word("message.previousId")} AS previous_id,
        coalesce({word("message.messageId")}, CASE WHEN fault IS NULL THEN 'sha256:' || left(sha256(raw), 32) END)
            AS message_id,
        {instant('message."timestamp"')} AS occurred_at, {instant("message.receivedAt")} AS received_at,
        {consent("answers", categories)} AS consent, entries AS listed, message.traits,
        message.context.sessionId AS visit, message.context.userAgent AS user_agent, message.context.ip AS ip,
        meaning.id_first,
        CASE WHEN fault IS NOT NULL OR meaning.event_type = 'impression' AND NOT names_product AND entries = 0 THEN NULL
             WHEN page_item IS NOT NULL THEN {visited} ELSE meaning.event_type END AS event_type,
        CASE WHEN fault IS NOT NULL THEN NULL
             WHEN page_item IS NOT NULL THEN [struct_pack({page})]
             WHEN NOT reads THEN NULL
             WHEN entries > 0 AND (many OR NOT names_product) THEN p.products
             ELSE [struct_pack({own})] END AS blocks,
        struct_pack({whole}) AS whole
    FROM checked
    """


def read(
    query: Query,
    lines: pa.Table,
    rule: PageRule | None,
    meanings: Mapping[str, Meaning],
    categories: Sequence[str],
) -> pa.Table:
    """Return one row per line; `lines` are `row_number`, `raw` (bytes) and `text` (null if not UTF-8).

    A line with a `fault` cannot be read. A line with an `event_type` is one event for each of its `blocks`; a line
    with only `blocks` updates the catalogue.
    """
    return query(_statement(rule, meanings, categories), lines=lines)
