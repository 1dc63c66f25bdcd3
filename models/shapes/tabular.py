"""Rows of any table, turned into canonical events, items and users as a mapping says. Arrow in, Arrow out."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.shapes.mapping import Column, EventsMapping, ItemsMapping, UsersMapping

_INSTANT = pa.timestamp("us", tz="UTC")


def needed(part: EventsMapping | ItemsMapping | UsersMapping) -> list[str]:
    """The source columns that a part of a mapping reads, each once."""
    names: list[str] = []
    for key, value in part:
        if key in {"file", "constants", "not_merchandise"} or value is None:
            continue
        names += [value] if isinstance(value, str) else value
    return list(dict.fromkeys(names))


def _parts(rows: pa.Table, column: Column) -> list[pa.Array]:
    names = [column] if isinstance(column, str) else column
    return [_words(rows[name]) for name in names]


def _words(values: pa.ChunkedArray) -> pa.Array:
    """Values as text, null where there is none."""
    if pa.types.is_floating(values.type):
        values = _whole(_without_nan(values))
    # PostgreSQL takes every character but this one.
    words = pc.replace_substring(pc.cast(values, pa.string()).combine_chunks(), "\0", "\N{REPLACEMENT CHARACTER}")
    return pc.if_else(pc.equal(words, ""), pa.scalar(None, pa.string()), words)


def _whole(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Integers that some program turned into floats, as they do for a column with gaps: 12.0 is the id 12."""
    try:
        return pc.cast(values, pa.int64())
    except pa.ArrowInvalid:
        return values


def _without_nan(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def _identifier(rows: pa.Table, column: Column) -> pa.Array:
    """An id from one column or several; null when any of them is null or empty."""
    return pc.binary_join_element_wise(*_parts(rows, column), "-", null_handling="emit_null")


def _text(rows: pa.Table, column: Column, separator: str) -> pa.Array:
    """Text from one column or several; what is null is left out. (Arrow's own "skip" loses all-null rows.)"""
    joined, *others = _parts(rows, column)
    for other in others:
        both = pc.binary_join_element_wise(joined, other, separator, null_handling="emit_null")
        joined = pc.coalesce(both, joined, other)
    return joined


def _number(rows: pa.Table, column: str | None) -> pa.ChunkedArray | pa.Array:
    """A number, null where there is none: neither a rule nor a sum can say anything about NaN."""
    if column is None:
        return pa.nulls(len(rows), pa.float64())
    return _without_nan(pc.cast(rows[column], pa.float64()))


def _instant(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times in UTC to the microsecond; a time without a zone is taken as UTC."""
    if values.type.tz is None:
        values = pc.assume_timezone(values, "UTC")
    return pc.cast(values, _INSTANT, safe=values.type.unit != "ns")


def events(rows: pa.Table, mapping: EventsMapping) -> pa.Table:
    """Canonical events with the raw `user_id`; pseudonyms, batch and hash are added by who stores them."""
    constants = mapping.constants
    return pa.table(
        {
            columns.EVENT_ID: _identifier(rows, mapping.event_id),
            columns.USER_ID: _identifier(rows, mapping.user_id),
            columns.SESSION_ID: _identifier(rows, mapping.session_id),
            columns.ITEM_ID: _identifier(rows, mapping.item_id),
            columns.EVENT_TYPE: pa.repeat(constants.get("event_type"), len(rows)),
            columns.OCCURRED_AT: _instant(rows[mapping.occurred_at]),
            columns.QUANTITY: _number(rows, mapping.quantity),
            columns.VALUE: _number(rows, mapping.value),
            columns.CURRENCY: pa.repeat(constants.get("currency"), len(rows)),
        }
    )


def _attributes(rows: pa.Table, names: Sequence[str]) -> pa.StructArray:
    """The attributes as one struct column; all values as text, nulls kept."""
    arrays = [_words(rows[name]) for name in names]
    return pa.StructArray.from_arrays(arrays, list(names)) if names else pa.array([{}] * len(rows))


def _title(rows: pa.Table, mapping: ItemsMapping) -> pa.Array:
    """A title as a person reads it; an item without one is called by its id."""
    words = pc.replace_substring_regex(_text(rows, mapping.title, ", "), r"\s+", " ")
    title = pc.utf8_capitalize(words)
    return pc.coalesce(
        title,
        pc.binary_join_element_wise(pa.repeat("Item", len(rows)), _identifier(rows, mapping.item_id), " "),
    )


def items(rows: pa.Table, mapping: ItemsMapping) -> pa.Table:
    """Canonical items. What is not merchandise is kept and marked as not available."""
    category = _text(rows, mapping.category, columns.CATEGORY_SEPARATOR)
    available = pa.array([True] * len(rows))
    for beginning in mapping.not_merchandise:
        available = pc.and_(available, pc.invert(pc.starts_with(pc.fill_null(category, ""), beginning)))
    return pa.table(
        {
            columns.ITEM_ID: _identifier(rows, mapping.item_id),
            columns.TITLE: _title(rows, mapping),
            columns.CATEGORY: category,
            columns.BRAND: pa.nulls(len(rows), pa.string()) if mapping.brand is None else _words(rows[mapping.brand]),
            columns.PRICE: _number(rows, mapping.price),
            columns.ATTRIBUTES: _attributes(rows, mapping.attributes),
            columns.AVAILABLE: available,
        }
    )


def users(rows: pa.Table, mapping: UsersMapping) -> pa.Table:
    """Canonical users: the raw id and the traits on the mapping's allow-list."""
    return pa.table(
        {
            columns.USER_ID: _identifier(rows, mapping.user_id),
            columns.ATTRIBUTES: _attributes(rows, mapping.attributes),
        }
    )
