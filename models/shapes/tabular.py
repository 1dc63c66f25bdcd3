"""Rows of any table, turned into canonical events, items and users as a mapping says. Arrow in, Arrow out."""

from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.shapes import cleaning
from models.shapes.choosing import IMPUTED, UPDATED_AT
from models.shapes.cleaning import Cleaned, Counts, Spelling, told
from models.shapes.computed import computed, matching
from models.shapes.kinds import Kind
from models.shapes.mapping import EventsMapping, ItemsMapping, UsersMapping
from models.shapes.sources import Source, attribute_of, column_of
from models.shapes.table_times import EPOCHS, TIMESTAMP, placed
from models.shapes.table_values import (
    UnreadableColumnError,
    answers,
    identifier,
    number,
    optional_words,
    place,
    text,
    tidy,
    translated,
    words,
)
from models.sql import query

_IDENTITY = (columns.USER_KEY, columns.ITEM_ID, columns.EVENT_TYPE, columns.OCCURRED_AT, columns.SESSION_ID)

_AS_IT_IS = Spelling()

Part = EventsMapping | ItemsMapping | UsersMapping


def needed(part: Part) -> list[str]:
    """The source columns that a part of a mapping reads, each once."""
    return part.read


def selected(rows: pa.Table, part: Part) -> pa.Array:
    """Whether each row is one that the part reads, by its `where`."""
    return matching(rows, part.where, part.decimal)


def numeric(part: Part) -> frozenset[str]:
    """The source columns that are read as numbers and as nothing else."""
    return frozenset(part.named(part.numbers)) - frozenset(part.named(part.texts))


def kinds(part: Part) -> dict[str, Kind]:
    """What each source column has to hold."""
    found: dict[str, Kind] = dict.fromkeys(needed(part), "any")
    found |= dict.fromkeys(part.named(part.numbers), "number")
    kind: Kind = "time" if part.time_format == TIMESTAMP else "number" if part.time_format in EPOCHS else "any"
    return found | dict.fromkeys(part.named(part.moments), kind)


def events(rows: pa.Table, mapping: EventsMapping, spelling: Spelling = _AS_IT_IS) -> Cleaned:
    """Canonical events with the raw `user_id`; pseudonyms, batch and hash are added by who stores them.

    The columns are the same for every mapping, but for `consent`, `received_at`, `user_agent` and `ip`, which are
    there when the mapping names them. Where it names no event id, `event_id` is null: it is made by `identified`.
    """
    rows = computed(rows, mapping.expressions, mapping.decimal)
    kind = translated(words(rows, mapping.event_type), mapping.event_types) if mapping.event_type else None
    moments, assumed = _moments(rows, mapping.occurred_at, mapping)
    numbers, counts = _worth(rows, mapping, spelling)
    said: dict[str, Any] = {
        columns.EVENT_ID: pc.binary_join_element_wise(mapping.event_id_prefix, identifier(rows, mapping.event_id), ""),
        columns.USER_ID: identifier(rows, mapping.user_id),
        columns.SESSION_ID: identifier(rows, mapping.session_id),
        columns.ITEM_ID: identifier(rows, mapping.item_id),
        columns.EVENT_TYPE: _constant(mapping.constants.get("event_type"), rows) if kind is None else kind,
        columns.OCCURRED_AT: moments,
        **numbers,
        columns.RATING: number(rows, mapping.rating, mapping.decimal),
        columns.PLACEMENT: optional_words(rows, mapping.placement),
        columns.POSITION: place(rows, mapping.position, mapping.decimal),
        columns.RECOMMENDATION_ID: optional_words(rows, mapping.recommendation_id),
    }
    if mapping.consent:
        said[columns.CONSENT] = answers(rows, mapping.consent, mapping.consent_words)
    if mapping.received_at:
        said[columns.RECEIVED_AT], _ = _moments(rows, mapping.received_at, mapping)
    senders = {columns.USER_AGENT: mapping.user_agent, columns.IP: mapping.ip}
    said |= {name: words(rows, column) for name, column in senders.items() if column}
    return Cleaned(pa.table(said), told(zone_assumed=assumed, **counts))


def _moments(rows: pa.Table, source: Source, mapping: Part) -> tuple[Any, int]:
    """A column of times in UTC, and how many of them said no zone."""
    column = column_of(source)
    try:
        return placed(rows[column], mapping.time_format, mapping.zone)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UnreadableColumnError(
            f"The column {column!r} must hold times, found {rows[column].type}. Fix the file or the mapping."
        ) from None


def _worth(rows: pa.Table, mapping: EventsMapping, spelling: Spelling) -> tuple[dict[str, Any], Counts]:
    """How many, for how much and in which currency; and what was mended or put in."""
    named = optional_words(rows, mapping.currency)
    currency, respelt = cleaning.currencies(named, spelling.currency)
    if "currency" in mapping.constants:
        currency, _ = cleaning.currencies(_constant(mapping.constants["currency"], rows), spelling.currency)
    own: dict[str, Any] = {
        columns.QUANTITY: number(rows, mapping.quantity, mapping.decimal),
        columns.VALUE: number(rows, mapping.value, mapping.decimal),
        columns.CURRENCY: currency,
    }
    counts = {f"{name}{IMPUTED}": int(own[name].null_count) for name in mapping.fill}
    filled = {name: _filled(values, mapping.fill.get(name)) for name, values in own.items()}
    return filled, counts | {"currency_respelt": respelt}


def _constant(value: str | None, rows: pa.Table) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), len(rows))


def identified(rows: pa.Table) -> pa.Table:
    """The events with an id made of `user_key`, item, kind, time and session, the same each time.

    Rows that are alike in all of these are one event. The pseudonym is used, since a hash of the raw id next to all
    that was hashed with it would give the raw id away.
    """
    said = [f"epoch_us({name})" if name == columns.OCCURRED_AT else name for name in _IDENTITY]
    parts = ", ".join(f"coalesce({name}::varchar, '')" for name in said)
    statement = f"SELECT 'sha256:' || left(sha256(concat_ws(chr(31), {parts})), 32) AS id FROM rows"
    ids = query(statement, rows=rows.select(_IDENTITY))["id"]
    return rows.set_column(rows.column_names.index(columns.EVENT_ID), columns.EVENT_ID, ids)


def items(rows: pa.Table, mapping: ItemsMapping, spelling: Spelling = _AS_IT_IS) -> Cleaned:
    """Canonical items. What is not merchandise is kept and marked as not available."""
    rows = computed(rows, mapping.expressions, mapping.decimal)
    paths = text(rows, mapping.category, columns.CATEGORY_SEPARATOR, mapping.category_alternatives)
    category, categories = cleaning.categories(paths, spelling.category)
    brand, brands = cleaning.brands(tidy(optional_words(rows, mapping.brand)), spelling.brand)
    price = number(rows, mapping.price, mapping.decimal)
    own = {columns.CATEGORY: category, columns.BRAND: brand, columns.PRICE: price}
    filled = {name: _filled(values, mapping.fill.get(name)) for name, values in own.items()}
    marks = {name: _mark(values) for name, values in own.items() if name in mapping.fill}
    found = pa.table(
        {
            columns.ITEM_ID: identifier(rows, mapping.item_id),
            columns.TITLE: _title(rows, mapping),
            **filled,
            columns.ATTRIBUTES: _attributes(rows, mapping.attributes, mapping.fill, marks),
            columns.AVAILABLE: _merchandise(rows, mapping, category),
        }
    )
    if mapping.updated_at:
        found = found.append_column(UPDATED_AT, _moments(rows, mapping.updated_at, mapping)[0])
    return Cleaned(found, told(category_respelt=categories, brand_respelt=brands, **_imputed(found, mapping.fill, own)))


def _merchandise(rows: pa.Table, mapping: ItemsMapping, category: Any) -> Any:
    """Whether each item is something that people shop for."""
    marked = [matching(rows, mark, mapping.decimal) for mark in mapping.marks]
    beginnings = [one for one in mapping.not_merchandise if isinstance(one, str)]
    marked += [pc.starts_with(pc.fill_null(category, ""), beginning) for beginning in beginnings]
    return pc.invert(reduce(pc.or_, marked, pa.repeat(False, len(rows))))


def users(rows: pa.Table, mapping: UsersMapping) -> Cleaned:
    """Canonical users: the raw id, the traits on the allow-list, and what they said about consent where it is named."""
    rows = computed(rows, mapping.expressions, mapping.decimal)
    said: dict[str, Any] = {
        columns.USER_ID: identifier(rows, mapping.user_id),
        columns.ATTRIBUTES: _attributes(rows, mapping.attributes, mapping.fill, {}),
    }
    if mapping.consent:
        said[columns.CONSENT] = answers(rows, mapping.consent, mapping.consent_words)
    if mapping.consent_at:
        said[columns.CONSENT_AT] = _moments(rows, mapping.consent_at, mapping)[0]
    found = pa.table(said)
    return Cleaned(found, told(**_imputed(found, mapping.fill)))


def _imputed(found: pa.Table, fill: Collection[str], own: Collection[str] = ()) -> Counts:
    """How many constants were put in, by their marks: of the columns of our own each, of attributes altogether."""
    marks = found[columns.ATTRIBUTES].combine_chunks()
    counts: Counts = {}
    for name in fill:
        mark = marks.field(f"{name}{IMPUTED}")
        key = f"{name if name in own else 'attribute'}{IMPUTED}"
        counts[key] = counts.get(key, 0) + len(mark) - mark.null_count
    return counts


def _title(rows: pa.Table, mapping: ItemsMapping) -> pa.Array:
    """A title as a person reads it; an item without one is called by its id."""
    title = text(rows, mapping.title, ", ")
    if mapping.sentence_case:
        title = pc.utf8_capitalize(title)
    named = pc.binary_join_element_wise(pa.repeat("Item", len(rows)), identifier(rows, mapping.item_id), " ")
    return pc.coalesce(title, named)


def _filled(values: Any, constant: Any) -> Any:
    if constant is None:
        return values
    return pc.fill_null(values, pa.scalar(float(constant) if values.type == pa.float64() else str(constant)))


def _mark(values: Any) -> pa.Array:
    """The text `true` where a value is missing, else null."""
    missing = pc.is_null(values)
    missing = missing.combine_chunks() if isinstance(missing, pa.ChunkedArray) else missing
    return pc.if_else(missing, pa.scalar("true"), pa.scalar(None, pa.string()))


def _attributes(
    rows: pa.Table, sources: Sequence[Source], fill: Mapping[str, Any], marks: Mapping[str, pa.Array]
) -> pa.StructArray:
    """The attributes as one struct column; all values as text, nulls kept, marks at the end."""
    read = {attribute_of(source): words(rows, source) for source in sources}
    found = {name: _filled(values, fill.get(name)) for name, values in read.items()}
    marked = {name: _mark(values) for name, values in read.items() if name in fill} | dict(marks)
    found |= {f"{name}{IMPUTED}": mark for name, mark in marked.items()}
    arrays = list(found.values())
    return pa.StructArray.from_arrays(arrays, list(found)) if found else pa.array([{}] * len(rows))
