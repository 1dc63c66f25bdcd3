"""The first look at Segment's lines: can they be read, what do they mean, and which products do they name."""

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
"""What is read of a product block, wherever it stands."""
_ALONE: Final = (
    *("order_id", "orderId", "checkout_id", "cart_id", "session_id"),
    *("rating", "revenue", "subtotal", "total"),
)
_WHOLE: Final = (*_ALONE, "currency", "placement", "recommendation_id", "recomm_id")
_ENVELOPE: Final = (
    *("type", "event", "messageId", "userId", "anonymousId", "previousId", "timestamp", "receivedAt", "name"),
)
_CONTEXT: Final = ("sessionId", "userAgent", "ip")
_TYPES: Final = ("track", "page", "screen", "identify", "group", "alias")


def _structure() -> str:
    """Which parts are taken out of a line, all in the one go that parses it."""
    block = dict.fromkeys(BLOCK, "VARCHAR")
    properties = {**dict.fromkeys((*BLOCK, *_ALONE, "path"), "VARCHAR"), "products": [block]}
    context = {**dict.fromkeys(_CONTEXT, "VARCHAR"), "consent": {"categoryPreferences": "JSON"}}
    envelope = {**dict.fromkeys(_ENVELOPE, "VARCHAR"), "traits": "JSON"}
    return json.dumps({**envelope, "context": context, "properties": properties})


def _meanings(meanings: Mapping[str, Meaning]) -> tuple[str, str]:
    """SQL for the mapping table: the type of its names, and what they mean, in the order of that type.

    A join with a table would do the same, but lose the order of the lines.
    """
    said = [
        f"{{'event_type': {_literal(meaning.event_type)}, 'kind': {_literal(meaning.kind)}, 'many': {meaning.many}, "
        f"'reads': {meaning.products}, 'id_first': {name in ACTION_FIRST}}}"
        for name, meaning in meanings.items()
    ]
    return f"ENUM ({', '.join(map(_literal, meanings))})", f"[{', '.join(said)}]"


def _literal(value: str | None) -> str:
    return "NULL::VARCHAR" if value is None else texts([value])[1:-1]


# `sound` is the text where it is JSON: whatever asks it for more can never fail.
_FAULT: Final = f"""CASE
    WHEN sound IS NULL THEN CASE
        WHEN text IS NULL AND raw IS NOT NULL THEN 'not_utf8'
        WHEN coalesce(trim(text, {SPACE}), '') = '' THEN 'blank'
        ELSE 'not_json' END
    WHEN type IS NULL THEN CASE WHEN json_type(sound) = 'OBJECT' THEN 'type_missing' ELSE 'not_an_object' END
    WHEN type NOT IN {_TYPES} THEN 'type_unknown'
    WHEN type = 'track' AND event_name IS NULL THEN 'event_missing'
    WHEN reads AND p.products IS NULL AND (many OR NOT named) THEN CASE
        WHEN json_type(sound, '$.properties') NOT IN ('OBJECT', 'NULL') THEN 'properties_not_an_object'
        WHEN json_type(sound, '$.properties.products') NOT IN ('ARRAY', 'NULL') THEN 'products_not_a_list' END
    END"""


def _statement(rule: PageRule | None, meanings: Mapping[str, Meaning], categories: Sequence[str]) -> str:
    names, said = _meanings(meanings)
    own = ", ".join(f"{name} := p.{name}" for name in BLOCK)
    page = ", ".join(f"{name} := {'page_item' if name == 'product_id' else 'NULL::VARCHAR'}" for name in BLOCK)
    page_item = "NULL::VARCHAR" if rule is None else rule.item("p.path", "p.url", "said.name")
    whole = ", ".join(f"{name} := p.{name}" for name in _WHOLE)
    answers = f"json_extract_string(said.context.consent.categoryPreferences, {pointers(categories)})"
    kind = "coalesce(meaning.kind, CASE type WHEN 'track' THEN 'unknown_event' ELSE type END)"
    visited = "NULL" if rule is None else f"'{rule.event_type}'"
    return f"""
    WITH parsed AS (
        SELECT row_number, raw, text, sound, json_transform(sound, '{_structure()}') AS said
        FROM (SELECT *, CASE WHEN json_valid(text) THEN text END AS sound FROM lines)
    ), told AS (
        SELECT *, said.properties AS p, lower(said.type) AS type,
            CASE WHEN lower(said.type) = 'track' THEN translate(lower({word("said.event")}), ' _-', '') END
                AS event_name
        FROM parsed
    ), looked_up AS (
        SELECT *, {said}[enum_code(try_cast(event_name AS {names}))::INTEGER + 1] AS meaning FROM told
    ), meant AS (
        SELECT *, coalesce(meaning.many, false) AS many, coalesce(meaning.reads, false) AS reads,
            coalesce({word("p.product_id")}, {word("p.sku")}, {word("p.id")}) IS NOT NULL AS named,
            coalesce(len(p.products), 0) AS entries,
            CASE WHEN type IN ('page', 'screen') THEN {page_item} END AS page_item
        FROM looked_up
    ), judged AS (
        SELECT *, {_FAULT} AS fault, {word("said.userId")} AS known_id, {word("said.anonymousId")} AS anonymous_id,
            {answers} AS answers
        FROM meant
    )
    SELECT row_number, fault, CASE WHEN fault IS NOT NULL THEN sha256(raw) END AS sha256, {kind} AS kind,
        coalesce(known_id, anonymous_id) AS user_id, known_id, anonymous_id, {word("said.previousId")} AS previous_id,
        coalesce({word("said.messageId")}, CASE WHEN fault IS NULL THEN 'sha256:' || left(sha256(raw), 32) END)
            AS message_id,
        {instant('said."timestamp"')} AS occurred_at, {instant("said.receivedAt")} AS received_at,
        {consent("answers", categories)} AS consent, entries AS listed, said.traits, said.context.sessionId AS visit,
        said.context.userAgent AS user_agent, said.context.ip AS ip, meaning.id_first,
        CASE WHEN fault IS NOT NULL OR meaning.event_type = 'impression' AND NOT named AND entries = 0 THEN NULL
             WHEN page_item IS NOT NULL THEN {visited} ELSE meaning.event_type END AS event_type,
        CASE WHEN fault IS NOT NULL THEN NULL
             WHEN page_item IS NOT NULL THEN [struct_pack({page})]
             WHEN NOT reads THEN NULL
             WHEN entries > 0 AND (many OR NOT named) THEN p.products
             ELSE [struct_pack({own})] END AS blocks,
        struct_pack({whole}) AS whole
    FROM judged
    """


def read(
    query: Query,
    lines: pa.Table,
    rule: PageRule | None,
    meanings: Mapping[str, Meaning],
    categories: Sequence[str],
) -> pa.Table:
    """One row per line; `lines` are `row_number`, `raw` (bytes) and `text` (null where not UTF-8).

    A line with a `fault` cannot be read. A line with an `event_type` is one event for each of its `blocks`; a line
    with `blocks` alone speaks of the catalogue.
    """
    return query(_statement(rule, meanings, categories), lines=lines)
