"""Build SQL for values of Mixpanel's lines: own properties, ids, times, and members under several names."""

from collections.abc import Mapping, Sequence
from typing import Final

from models.ingest.mixpanel.property_names import PRODUCTS, names_of
from models.ingest.segment.json_lines import BLOCK
from models.ingest.segment.sql_values import pointers
from models.primitives.arrow_sql import texts

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
