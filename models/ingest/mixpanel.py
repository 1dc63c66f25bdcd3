"""Define the mapping of a Mixpanel project: its raw export and its profiles."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal
from zoneinfo import available_timezones

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field

from models.ingest import placeholder_ids
from models.ingest.canonical_schema import ALIASES, ParsedLines
from models.ingest.segment import interactions
from models.ingest.segment.event_types import MIXPANEL
from models.ingest.segment.fields import BLOCK, NOT_JSON, WHOLE, consent, instant, pointers, product_ids, word
from models.ingest.segment.parse import canonical, decoded, meaning_table
from models.ingest.segment.segment_mapping import LineMapping
from models.ingest.source_config import nonzero_counts
from models.primitives.arrow_sql import Query, connected, literal, statement_of, texts
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
"""The properties of Mixpanel itself that are read; a slash separates the steps of a path."""
_MILLISECONDS: Final = 1e11
"""A larger time is in milliseconds: as seconds it would be after the year 5138."""


def own(name: str) -> str:
    """Return SQL for a property of Mixpanel itself."""
    return f"own[{OWN.index(name) + 1}]"


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
_DAY_US: Final = 86_400_000_000
_UNHASHED: Final = "{" + ", ".join(f'"{name}": null' for name in ("distinct_id", "$distinct_id_before_identity")) + "}"
"""Properties that a later merge of ids changes, so the id of an event without `$insert_id` ignores them."""


def _statement(mapping: "MixpanelMapping") -> str:
    """Return SQL for one row per line, with the columns that the statement of Segment's lines has.

    The id of an event is made of its name, its day, its distinct id before any merge, and its `$insert_id`: Mixpanel
    takes events with the same four for the same event. Without a usable `$insert_id` its content takes that place.
    """
    names, structs = meaning_table(mapping.meanings())
    block_values, block = members("p", BLOCK, mapping.properties)
    whole_values, whole = members("p", WHOLE, mapping.properties)
    refused_ids = dict.fromkeys([*placeholder_ids.PEOPLE, *placeholder_ids.spellings(PLACEHOLDERS)])
    return statement_of(
        Path(__file__).with_suffix(".sql"),
        event=word("json_extract_string(sound, '/event')"),
        own=texts(f"/{name}" for name in OWN),
        day_us=_DAY_US,
        meanings=structs,
        names=names,
        not_json=NOT_JSON,
        micros=micros_of(own("time")),
        original=f"coalesce({word(own('$distinct_id_before_identity'))}, {word(own('distinct_id'))})",
        bare_original=bare("original"),
        device=DEVICE,
        device_id=bare(word(own("$device_id"))),
        stated_insert_id=own("$insert_id"),
        refused_ids=texts(refused_ids),
        insert_id_pattern="[A-Za-z0-9-]{1,36}",
        profile_id=word("json_extract_string(sound, '/$distinct_id')"),
        user_id=word(own("$user_id")),
        unhashed=_UNHASHED,
        block_values=block_values,
        block=block,
        whole_values=whole_values,
        whole=whole,
        products=products(mapping.properties),
        product=", ".join(word(f"own_block.{name}") for name in product_ids(id_first=False)),
        answers=f"json_extract_string(p, {pointers(mapping.consent_properties)})",
        identity_events=("$identify", "$create_alias", "$merge"),
        distinct_id=bare(word(own("distinct_id"))),
        identified_id=bare(word(own("$identified_id"))),
        anon_id=bare(word(own("$anon_id"))),
        alias_id=bare(word(own("alias"))),
        first_id=word(own("$distinct_ids/0")),
        second_id=word(own("$distinct_ids/1")),
        mixpanel_event=MIXPANEL_EVENT,
        last_seen=instant(own("$last_seen")),
        zone=literal(mapping.time_zone),
        written_time=instant(own("time")),
        received=f"coalesce({micros_of(own('$mp_api_timestamp_ms'))}, {micros_of(own('mp_processing_time_ms'))})",
        consent=consent("answers", mapping.consent_properties),
        user_agent=own("$user_agent"),
        ip=f"coalesce({own('$ip')}, {own('ip')})",
    )


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
    parts = {
        "device": bare(f"CASE WHEN {swapped} THEN first_id ELSE second_id END"),
        "user": bare(f"CASE WHEN {swapped} THEN second_id ELSE first_id END"),
    }
    rows = query(
        statement_of(Path(__file__).with_name("mixpanel_aliases.sql"), **parts),
        read=read.filter(read["fault"].is_null()),
    )
    return rows.cast(ALIASES)


Region = Literal["us", "eu", "in"]


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

    usual = MIXPANEL
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
        """Return the canonical rows of events and profiles. No content of a line raises an error."""
        with connected() as query:
            read = query(_statement(self), lines=decoded(query, lines))
            users = interactions.users(query, read.filter(pc.equal(read["kind"], "identify")), self.traits)
            result = canonical(query, read, users, aliases(query, read), self.spelling)
        unusable = int(pc.sum(read["insert_id_unusable"]).as_py() or 0)
        return replace(result, cleaned=result.cleaned | nonzero_counts(insert_id_unusable=unusable))

    def event_name_of(self, line: JsonObject) -> object:
        """Return the name of an event, unless it is Mixpanel's own."""
        name = line.get("event")
        return None if isinstance(name, str) and name.startswith("$") else name

    def of_one_day(self) -> "MixpanelMapping":
        """Return the mapping without the keys that only choose what the API delivers."""
        chosen = ("project", "region", "late_days", "profiles", "start", "end")
        return self.model_copy(update={name: type(self).model_fields[name].default for name in chosen})
