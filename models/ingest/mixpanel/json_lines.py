"""Parse lines of Mixpanel: events of a raw export, and profiles of `engage`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from models.ingest import placeholder_ids
from models.ingest.mixpanel.sql_values import (
    DEVICE,
    MIXPANEL_EVENT,
    OWN,
    bare,
    members,
    micros_of,
    own,
    paths,
    products,
)
from models.ingest.segment.event_types import Meaning
from models.ingest.segment.json_lines import BLOCK, WHOLE, meaning_table
from models.ingest.segment.sql_values import SPACE, consent, instant, pointers, word
from models.primitives.arrow_sql import Query, literal, texts

PLACEHOLDERS: Final = (
    *("anon", "anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "0", "-1", "true", "false"),
    *("[]", "{}", "<nil>", "lmy47d", "00000000-0000-0000-0000-000000000000"),
)
"""Ids that Mixpanel's import refuses, both as `distinct_id` and as `$insert_id`."""
IDENTITY_EVENTS: Final = ("$identify", "$create_alias", "$merge")
_DAY_US: Final = 86_400_000_000
_INSERT_ID: Final = "[A-Za-z0-9-]{1,36}"
_UNHASHED: Final = "{" + ", ".join(f'"{name}": null' for name in ("distinct_id", "$distinct_id_before_identity")) + "}"
"""Properties that a later merge of ids changes, so the id of an event without `$insert_id` ignores them."""


@dataclass(frozen=True)
class Reading:
    """The settings of a mapping for the lines."""

    meanings: Mapping[str, Meaning]
    consent_properties: Sequence[str] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    """Own property → member."""
    time_zone: str = "UTC"
    """The zone of `time`."""


# `sound` is the text if it is valid JSON, so functions on it cannot fail.
_FAULT: Final = f"""CASE
    WHEN sound IS NULL THEN CASE
        WHEN text IS NULL AND raw IS NOT NULL THEN 'not_utf8'
        WHEN coalesce(trim(text, {SPACE}), '') = '' THEN 'blank'
        ELSE 'not_json' END
    WHEN json_type(sound) <> 'OBJECT' THEN 'not_an_object'
    WHEN profile THEN NULL
    WHEN event IS NULL THEN 'event_missing'
    WHEN json_type(p) IS DISTINCT FROM 'OBJECT' THEN 'properties_not_an_object' END"""


def _statement(reading: Reading) -> str:
    names, structs = meaning_table(reading.meanings)
    block_values, block = members("p", BLOCK, reading.properties)
    whole_values, whole = members("p", WHOLE, reading.properties)
    answers = f"json_extract_string(p, {pointers(reading.consent_properties)})"
    refused_ids = texts(dict.fromkeys([*placeholder_ids.PEOPLE, *placeholder_ids.spellings(PLACEHOLDERS)]))
    insert_id = f"CASE WHEN {own('$insert_id')} IS NOT NULL AND NOT list_contains({refused_ids}, {own('$insert_id')}) "
    insert_id += f"AND regexp_full_match({own('$insert_id')}, '{_INSERT_ID}') THEN {own('$insert_id')} END"
    before = f"coalesce({word(own('$distinct_id_before_identity'))}, {word(own('distinct_id'))})"
    received = f"coalesce({micros_of(own('$mp_api_timestamp_ms'))}, {micros_of(own('mp_processing_time_ms'))})"
    kind = (
        f"coalesce(meaning.kind, CASE WHEN profile THEN 'identify' WHEN event IN {IDENTITY_EVENTS} THEN 'alias' "
        "ELSE 'unknown_event' END)"
    )
    of_profile = "json_extract_string(sound, '/$distinct_id')"
    parts = "event, coalesce(micros // day_us, 0), coalesce(original, ''), coalesce(insert_id, content)"
    return f"""
    WITH parsed AS (
        SELECT row_number, raw, text, sound, {word("json_extract_string(sound, '/event')")} AS event,
            coalesce(json_extract(sound, '/properties'), json_extract(sound, '/$properties')) AS p,
            coalesce(json_type(sound, '/$properties') = 'OBJECT', false) AND json_extract(sound, '/event') IS NULL
                AS profile
        FROM (SELECT *, CASE WHEN json_valid(text) THEN text END AS sound FROM lines)
    ), valued AS (
        SELECT *, json_extract_string(p, {paths(OWN)}) AS own, {_FAULT} AS fault, {_DAY_US} AS day_us,
            {structs}[enum_code(try_cast(translate(lower(event), ' _-', '') AS {names}))::INTEGER + 1] AS meaning
        FROM parsed
    ), identified AS (
        SELECT *, {micros_of(own("time"))} AS micros, {insert_id} AS insert_id, {before} AS original,
            {bare(word(own("$device_id")))} AS device_id,
            CASE WHEN profile THEN {word(of_profile)} ELSE {word(own("$user_id"))} END AS stated_id,
            coalesce(meaning.many, false) AS many, coalesce(meaning.reads, false) AS reads
        FROM valued
    ), resolved AS (
        SELECT *, starts_with(original, '{DEVICE}') OR coalesce({bare("original")} = device_id, false) AS of_device,
            CASE WHEN fault IS NULL AND insert_id IS NULL AND NOT profile
                THEN sha256(json_merge_patch(p, '{_UNHASHED}')::VARCHAR) END AS content,
            CASE WHEN reads AND fault IS NULL THEN list_transform([{block_values}], lambda values: {block})[1] END
                AS own_block,
            CASE WHEN reads AND fault IS NULL THEN list_transform([{whole_values}], lambda values: {whole})[1] END
                AS whole,
            CASE WHEN reads AND fault IS NULL THEN {products(reading.properties)} END AS products
        FROM identified
    ), people AS (
        SELECT *, CASE WHEN profile AND starts_with(stated_id, '{DEVICE}') THEN NULL
                ELSE coalesce(stated_id, CASE WHEN NOT of_device THEN original END) END AS known_id,
            coalesce(device_id, CASE WHEN of_device THEN {bare("original")} END) AS anonymous_id,
            coalesce({word("own_block.product_id")}, {word("own_block.sku")}, {word("own_block.id")}) IS NOT NULL
                AS names_product,
            coalesce(len(products), 0) AS entries, {answers} AS answers
        FROM resolved
    )
    SELECT row_number, fault, CASE WHEN fault IS NOT NULL THEN sha256(raw) END AS sha256, {kind} AS kind, event,
        coalesce(known_id, anonymous_id) AS user_id, known_id, anonymous_id,
        known_id IS NULL AND anonymous_id IS NOT NULL AS is_device,
        {bare(word(own("distinct_id")))} AS distinct_id, {bare("original")} AS original_id,
        {bare(word(own("$identified_id")))} AS identified_id, {bare(word(own("$anon_id")))} AS anon_id,
        {bare(word(own("alias")))} AS alias_id, {word(own("$distinct_ids/0"))} AS first_id,
        {word(own("$distinct_ids/1"))} AS second_id,
        CASE WHEN fault IS NULL AND NOT profile
            THEN '{MIXPANEL_EVENT}' || left(sha256(concat_ws(chr(31), {parts})), 32) END AS message_id,
        fault IS NULL AND NOT profile AND {own("$insert_id")} IS NOT NULL AND insert_id IS NULL AS insert_id_unusable,
        CASE WHEN profile THEN {instant(own("$last_seen"))}
            ELSE coalesce(make_timestamp(micros) AT TIME ZONE {literal(reading.time_zone)}, {instant(own("time"))}) END
            AS occurred_at,
        make_timestamp({received}) AT TIME ZONE 'UTC' AS received_at,
        {consent("answers", reading.consent_properties)} AS consent, entries AS listed,
        CASE WHEN profile THEN p END AS traits, NULL::VARCHAR AS visit, {own("$user_agent")} AS user_agent,
        coalesce({own("$ip")}, {own("ip")}) AS ip, false AS id_first,
        CASE WHEN fault IS NOT NULL OR profile
            OR meaning.event_type = 'impression' AND NOT names_product AND entries = 0 THEN NULL
            ELSE meaning.event_type END AS event_type,
        CASE WHEN fault IS NOT NULL OR NOT reads THEN NULL
            WHEN entries > 0 AND (many OR NOT names_product) THEN products ELSE [own_block] END AS blocks,
        whole
    FROM people
    """


def read(query: Query, lines: pa.Table, reading: Reading) -> pa.Table:
    """Return one row per line, as `segment.json_lines.read` does; `lines` are `row_number`, `raw` and `text`.

    The id of an event is made of its name, its day, its distinct id before any merge, and its `$insert_id`: Mixpanel
    takes events with the same four for the same event. Without a usable `$insert_id` its content takes that place.
    """
    return query(_statement(reading), lines=lines)
