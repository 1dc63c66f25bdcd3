"""Define the mapping of a Mixpanel project: its raw export and its profiles."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal
from zoneinfo import available_timezones

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field

from models.ingest import placeholder_ids
from models.ingest.canonical_schema import ALIASES, ParsedLines
from models.ingest.segment import interactions as segment_identities
from models.ingest.segment.event_types import Meaning, event_name
from models.ingest.segment.fields import BLOCK, SPACE, WHOLE, consent, instant, pointers, word
from models.ingest.segment.parse import canonical, decoded, meaning_table
from models.ingest.segment.segment_mapping import LineMapping
from models.ingest.source_config import Spelling, nonzero_counts, parsed
from models.primitives.arrow_sql import Query, connected, literal, texts
from models.primitives.json_types import JsonObject

PRODUCTS: Final = "products"
"""The member that holds the list of an event's products."""
_SYNONYMS: Final = {
    "product_id": "item_id content_id",
    "name": "product_name item_name title",
    "category": "product_category item_category",
    "brand": "product_brand item_brand",
    "variant": "item_variant product_variant",
    "price": "unit_price item_price product_price",
    "quantity": "qty item_quantity",
    "value": "line_value amount",
    "currency": "currency_code",
    "coupon": "coupon_code",
    "url": "product_url",
    "image_url": "product_image",
    "order_id": "transaction_id order_number",
    "rating": "stars",
    "total": "order_total total_price cart_total",
    PRODUCTS: "items line_items cart_items product_ids item_ids",
}
MEMBERS: Final = tuple(dict.fromkeys((*BLOCK, *WHOLE, PRODUCTS)))
"""The members that own properties can be assigned to."""


def names_of(member: str, own: Mapping[str, str]) -> list[str]:
    """Return the names of a member's property, the first that has a value counts: own names, then the usual ones."""
    mine = [name for name, target in own.items() if target == member]
    usual = (spelling for word in (member, *_SYNONYMS.get(member, "").split()) for spelling in _spellings(word))
    return list(dict.fromkeys([*mine, *usual]))


def _spellings(word: str) -> Iterator[str]:
    """Yield `product_id` as product_id, Product ID, Product Id, product id, productId and ProductId."""
    parts = word.split("_")
    title = [part.title() for part in parts]
    yield word
    yield " ".join("ID" if part == "id" else part.title() for part in parts)
    yield " ".join(title)
    yield " ".join(parts)
    yield parts[0] + "".join(title[1:])
    yield "".join(title)


MIXPANEL_EVENT: Final = "mixpanel:"
"""The beginning of event ids: lines with the same id are the same event, even if their values differ."""
DEVICE: Final = "$device:"
"""The beginning of a distinct id that names a device (simplified id merge)."""
OWN: Final = (
    *("time", "distinct_id", "$distinct_id_before_identity", "$user_id", "$device_id", "$insert_id"),
    *("$mp_api_timestamp_ms", "mp_processing_time_ms", "$last_seen", "$user_agent", "$ip", "ip"),
    *("$identified_id", "$anon_id", "alias", "$distinct_ids/0", "$distinct_ids/1"),
)
"""The properties of Mixpanel itself that are read."""
_MILLISECONDS: Final = 1e11
"""A larger time is in milliseconds: as seconds it would be after the year 5138."""


def own(name: str) -> str:
    """Return SQL for a property of Mixpanel itself."""
    return f"own[{OWN.index(name) + 1}]"


def paths(names: Sequence[str]) -> str:
    """Return JSON pointers; a slash separates the steps of a path."""
    return texts("/" + name for name in names)


def bare(value: str) -> str:
    """Return SQL for an id without the mark of a device."""
    return f"CASE WHEN starts_with({value}, '{DEVICE}') THEN nullif({value}[{len(DEVICE) + 1}:], '') ELSE {value} END"


def micros_of(value: str) -> str:
    """Return SQL for microseconds since 1970 of a time in seconds or milliseconds; null beyond the years 1 to 9999."""
    number = f"try_cast({value} AS DOUBLE)"
    micros = f"{number} * CASE WHEN abs({number}) >= {_MILLISECONDS} THEN 1e3 ELSE 1e6 END"
    return f"CASE WHEN {micros} BETWEEN -62135596800e6 AND 253402300799e6 THEN round({micros})::BIGINT END"


def members(properties: str, wanted: Sequence[str], own_names: Mapping[str, str]) -> tuple[str, str]:
    """Return SQL for a list of all values of the `wanted` members, and for a struct of them from its `values`."""
    names: list[str] = []
    fields = []
    for member in wanted:
        first = len(names) + 1
        names += names_of(member, own_names)
        fields.append(f"{member} := coalesce({', '.join(f'values[{n}]' for n in range(first, len(names) + 1))})")
    return f"json_extract_string({properties}, {pointers(names)})", f"struct_pack({', '.join(fields)})"


def products(names: Mapping[str, str]) -> str:
    """Return SQL for the product blocks in the first list of products; an element may be a plain id."""
    lists = pointers(names_of(PRODUCTS, names))
    extracted, block = members("element", BLOCK, names)
    is_list = "json_type(one) = 'ARRAY'"
    values = f"""CASE json_type(element) WHEN 'OBJECT' THEN {extracted} ELSE [json_extract_string(element, '$')] END"""
    return f"""list_transform(
        json_extract(list_filter(json_extract(p, {lists}), lambda one: {is_list})[1], '$[*]'),
        lambda element: list_transform([{values}], lambda values: {block})[1])"""


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


def read_lines(query: Query, lines: pa.Table, reading: Reading) -> pa.Table:
    """Return one row per line, as the `read_lines` of Segment does; `lines` are `row_number`, `raw` and `text`.

    The id of an event is made of its name, its day, its distinct id before any merge, and its `$insert_id`: Mixpanel
    takes events with the same four for the same event. Without a usable `$insert_id` its content takes that place.
    """
    return query(_statement(reading), lines=lines)


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
        read = read_lines(query, decoded(query, lines), reading)
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


Region = Literal["us", "eu", "in"]
_NAMES: Final = {
    Meaning("purchase", "purchase", many=True): "Purchase, Purchased, Purchase Completed, Completed Purchase, "
    "Checkout Completed, Order Placed, Product Purchased, Purchased Product, Item Purchased, Purchased Item, Charge",
    Meaning("refund", "refund", many=True): "Refund, Refunded, Purchase Refunded, Order Returned",
    Meaning("view", "view"): "Product View, View Product, Item Viewed, View Item, Item View, Viewed Item, "
    "Product Page Viewed, Product Detail Viewed, Product Detail View, Item Detail Viewed",
    Meaning("click", "click"): "Item Clicked, Select Item, Product Selected, Product Click",
    Meaning("add_to_cart", "add_to_cart"): "Add to Cart, Added to Cart, Product Added to Cart, Item Added to Cart, "
    "Added Item to Cart, Add to Basket, Added to Basket, Item Added, Cart Item Added",
    Meaning("remove_from_cart", "remove_from_cart"): "Remove from Cart, Removed from Cart, Product Removed from Cart, "
    "Item Removed from Cart, Remove from Basket, Removed from Basket, Item Removed, Cart Item Removed",
    Meaning("wishlist", "wishlist"): "Add to Wishlist, Added to Wishlist, Item Added to Wishlist, Wishlist Item Added",
    Meaning("list", "impression", many=True): "View Item List, Items Viewed, Product Impressions",
    Meaning("checkout", many=True): "Checkout, Begin Checkout, Checkout Begun",
    Meaning("search", products=False): "Search, Searched, Search Performed",
}


def _known_members(properties: dict[str, str]) -> dict[str, str]:
    unknown = sorted({member for member in properties.values() if member not in MEMBERS})
    if unknown:
        raise ValueError(f"no member is called {', '.join(unknown)}; use one of: {', '.join(MEMBERS)}")
    return properties


def _known_zone(zone: str) -> str:
    if zone not in available_timezones():
        raise ValueError(f"there is no time zone {zone!r}; write one such as UTC or Europe/Berlin")
    return zone


class MixpanelMapping(LineMapping):
    """A mapping file of kind `mixpanel`."""

    usual = MappingProxyType({event_name(name): one for one, names in _NAMES.items() for name in names.split(", ")})
    """Names that Mixpanel projects use besides those of Segment's specification."""
    known_placeholders: ClassVar[tuple[str, ...]] = (*placeholder_ids.PEOPLE, *PLACEHOLDERS)

    kind: Literal["mixpanel"]
    """States that the files contain Mixpanel's events and profiles."""
    project: Annotated[int, Field(gt=0)] | None = None
    """The id of the project whose API is read if no files are given."""
    region: Region = "us"
    """Where Mixpanel stores the project: us, eu or in."""
    late_days: Annotated[int, Field(ge=0, le=400)] = 5
    """For so many days after its end a day is read again, because events arrive late."""
    time_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    """The zone of `time` and of days: that of the project if it was created before 2023, otherwise UTC."""
    unknown_items: Literal["quarantine", "accept"] | None = "accept"
    """What to do with events on items that neither a catalogue nor a product contains."""
    consent_properties: list[str] = Field(["consent"])
    """The properties of events and profiles that state consent, true or false; each that is there has to be true."""
    traits: list[str] = Field([])
    """The properties of profiles to keep; never e-mail, name, phone or address."""
    profiles: bool = True
    """Whether the API's profiles are read, if `traits` names any."""
    events: dict[str, str] = Field({})
    """Names of your own events → event types."""
    properties: Annotated[dict[str, str], AfterValidator(_known_members)] = Field({})
    """Names of your own properties → members of a product or an order, such as product_id, price or products."""

    def parse_lines(self, lines: pa.Table) -> ParsedLines:
        """Return the canonical rows of events and profiles."""
        reading = Reading(self.meanings(), self.consent_properties, self.properties, self.time_zone)
        return parse_lines(lines, reading, traits=self.traits, spelling=self.spelling)

    def event_name_of(self, line: JsonObject) -> object:
        """Return the name of an event, unless it is Mixpanel's own."""
        name = line.get("event")
        return None if isinstance(name, str) and name.startswith("$") else name

    def of_one_day(self) -> "MixpanelMapping":
        """Return the mapping without the keys that only choose what the API delivers."""
        chosen = ("project", "region", "late_days", "profiles", "start", "end")
        return self.model_copy(update={name: type(self).model_fields[name].default for name in chosen})


def parse(content: JsonObject, name: str, label: Callable[[str], str] = str) -> MixpanelMapping:
    """Return the mapping of a Mixpanel project in `content`. Raises MappingError with all faulty keys."""
    return parsed(MixpanelMapping, content, name, label)
