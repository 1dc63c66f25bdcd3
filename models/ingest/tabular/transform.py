"""Transform rows of any table into canonical events, items and users by a mapping. Arrow in, Arrow out."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.ingest import source_config
from models.ingest.canonical_schema import ANONYMOUS_ID, IS_DEVICE
from models.ingest.source_config import NO_SYNONYMS, Counts, Spelling, nonzero_counts
from models.ingest.tabular.column_reader import Reader
from models.ingest.tabular.duplicate_rows import IMPUTED, UPDATED_AT
from models.ingest.tabular.mapping_keys import Source, attribute_of, column_of
from models.ingest.tabular.numbers import unreadable
from models.ingest.tabular.table_mapping import EventsMapping, ItemsMapping, UsersMapping
from models.ingest.tabular.unreadable_cells import ADDRESS, STOCK, Kind, UnreadableCells
from models.ingest.tabular.values import (
    EPOCHS,
    TIMESTAMP,
    answers,
    computed,
    identifier,
    instants,
    is_text,
    levels,
    matching,
    merchandise,
    number,
    optional_words,
    places,
    text,
    tidy,
    translated,
    words,
)
from models.primitives.arrow_sql import query
from models.primitives.arrow_types import ArrowColumn, Columns

_IDENTITY = (columns.USER_KEY, columns.ITEM_ID, columns.EVENT_TYPE, columns.OCCURRED_AT, columns.SESSION_ID)


Part = EventsMapping | ItemsMapping | UsersMapping


class Cleaned(NamedTuple):
    """Canonical rows, the number of normalised values, and the unreadable cells."""

    rows: pa.Table
    counts: Counts
    unread: tuple[UnreadableCells, ...] = ()


def selected(rows: pa.Table, part: Part) -> pa.Array:
    """Return whether the part reads each row, by its `where`."""
    return matching(rows, part.where, part.form)


def kinds(part: Part) -> dict[str, Kind]:
    """Return the kind of values that each source column must hold."""
    kind_of: dict[str, Kind] = dict.fromkeys(part.read, "any")
    kind_of |= dict.fromkeys(part.direct_columns(part.numbers), "number")
    formats = set(part.time_formats)
    kind: Kind = "time" if formats == {TIMESTAMP} else "number" if formats <= EPOCHS.keys() else "any"
    return kind_of | dict.fromkeys(part.direct_columns(part.moments), kind)


def _reader(rows: pa.Table, part: Part) -> Reader:
    return Reader(computed(rows, part.expressions, part.form), part.form, part.time_formats, part.zone)


def events(rows: pa.Table, mapping: EventsMapping, spelling: Spelling = NO_SYNONYMS) -> Cleaned:
    """Return canonical events with the raw `user_id`; the caller adds pseudonyms, batch and hash.

    The columns are the same for every mapping, except `consent`, `received_at`, `user_agent` and `ip`, which exist if
    the mapping names them, and `is_device` and `anonymous_id`, if it names a device. Without an event id in the
    mapping, `event_id` is null, and `identified` makes it.
    """
    read = _reader(rows, mapping)
    rows = read.rows
    kind = translated(words(rows, mapping.event_type), mapping.event_types) if mapping.event_type else None
    moments = read.moment(columns.OCCURRED_AT, mapping.occurred_at)
    assumed = read.zone_assumed
    numbers, counts = _amounts(read, mapping, spelling)
    user, device = identifier(rows, mapping.user_id), identifier(rows, mapping.device_id)
    types = _constant(mapping.constants.get("event_type"), rows) if kind is None else kind
    orders = identifier(rows, mapping.session_id)
    if mapping.refund_order:
        is_refund = pc.fill_null(pc.equal(types, columns.REFUND), False)
        orders = pc.if_else(is_refund, identifier(rows, mapping.refund_order), orders)
    table: Columns = {
        columns.EVENT_ID: pc.binary_join_element_wise(mapping.event_id_prefix, identifier(rows, mapping.event_id), ""),
        columns.USER_ID: pc.coalesce(user, device),
        columns.SESSION_ID: orders,
        columns.ITEM_ID: identifier(rows, mapping.item_id),
        columns.EVENT_TYPE: types,
        columns.OCCURRED_AT: moments,
        **numbers,
        columns.RATING: read.number(columns.RATING, mapping.rating),
        columns.PLACEMENT: optional_words(rows, mapping.placement),
        columns.POSITION: places(read.number(columns.POSITION, mapping.position)),
        columns.RECOMMENDATION_ID: optional_words(rows, mapping.recommendation_id),
    }
    if mapping.device_id:
        table |= {IS_DEVICE: pc.and_(pc.is_null(user), pc.is_valid(device)), ANONYMOUS_ID: device}
    if mapping.consent:
        table[columns.CONSENT] = answers(rows, mapping.consent, mapping.consent_words)
    if mapping.received_at:
        table[columns.RECEIVED_AT] = read.moment(columns.RECEIVED_AT, mapping.received_at)
    senders = {columns.USER_AGENT: mapping.user_agent, columns.IP: mapping.ip}
    table |= {name: words(rows, column) for name, column in senders.items() if column}
    return Cleaned(pa.table(table | read.columns()), nonzero_counts(zone_assumed=assumed, **counts), read.unread)


def _amounts(read: Reader, mapping: EventsMapping, spelling: Spelling) -> tuple[Columns, Counts]:
    """Return quantity, value and currency, with the counts of normalised and filled values."""
    currency, respelt = _currency(read.rows, mapping, spelling)
    own: Columns = {
        columns.QUANTITY: read.number(columns.QUANTITY, mapping.quantity),
        columns.VALUE: read.number(columns.VALUE, mapping.value),
        columns.CURRENCY: currency,
    }
    counts = {f"{name}{IMPUTED}": int(own[name].null_count) for name in mapping.fill}
    filled = {name: _filled(values, mapping.fill.get(name)) for name, values in own.items()}
    for one in read.unread:  # a quarantined row was not filled
        if one.key in mapping.fill:
            counts[f"{one.key}{IMPUTED}"] -= one.count
    return filled, counts | {"currency_respelt": respelt}


def _currency(rows: pa.Table, mapping: EventsMapping | ItemsMapping, spelling: Spelling) -> tuple[ArrowColumn, int]:
    """Return currency codes and the number of normalised ones; a constant applies to all rows."""
    if "currency" in mapping.constants:
        return source_config.currencies(_constant(mapping.constants["currency"], rows), spelling.currency)[0], 0
    return source_config.currencies(optional_words(rows, mapping.currency), spelling.currency)


def _constant(value: str | None, rows: pa.Table) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), len(rows))


def identified(rows: pa.Table) -> pa.Table:
    """Return the events with a reproducible id made of `user_key`, item, type, time and session.

    Rows that are equal in all of these are one event. The id uses the pseudonym, because a hash of the raw id next to
    the other hashed values would reveal the raw id.
    """
    terms = [f"epoch_us({name})" if name == columns.OCCURRED_AT else name for name in _IDENTITY]
    parts = ", ".join(f"coalesce({name}::varchar, '')" for name in terms)
    statement = f"SELECT 'sha256:' || left(sha256(concat_ws(chr(31), {parts})), 32) AS id FROM rows"
    ids = query(statement, rows=rows.select(_IDENTITY))["id"]
    return rows.set_column(rows.column_names.index(columns.EVENT_ID), columns.EVENT_ID, ids)


def items(rows: pa.Table, mapping: ItemsMapping, spelling: Spelling = NO_SYNONYMS) -> Cleaned:
    """Return canonical items; an item that is not merchandise is marked as not available."""
    read = _reader(rows, mapping)
    rows = read.rows
    paths = text(rows, mapping.category, columns.CATEGORY_SEPARATOR, mapping.category_alternatives)
    if mapping.category_separator:
        paths = levels(paths, mapping.category_separator)
    category, categories = source_config.categories(paths, spelling.category)
    brand, brands = source_config.brands(tidy(optional_words(rows, mapping.brand)), spelling.brand)
    price = read.number(columns.PRICE, mapping.price)
    currency, respelt = _currency(rows, mapping, spelling)
    own = {columns.CATEGORY: category, columns.BRAND: brand, columns.PRICE: price}
    filled = {name: _filled(values, mapping.fill.get(name)) for name, values in own.items()}
    marks = {name: _mark(values) for name, values in own.items() if name in mapping.fill}
    table = pa.table(
        {
            columns.ITEM_ID: identifier(rows, mapping.item_id),
            columns.TITLE: _title(rows, mapping),
            **filled,
            columns.ATTRIBUTES: _attributes(rows, mapping.attributes, mapping.fill, marks, _variants(rows, mapping)),
            columns.AVAILABLE: pc.fill_null(merchandise(rows, mapping.not_merchandise, category, mapping.form), True),
            **offers(read, mapping),
            columns.CURRENCY: currency,
        }
    )
    if mapping.updated_at:
        table = table.append_column(UPDATED_AT, read.moment(UPDATED_AT, mapping.updated_at))
    for name, values in read.columns().items():
        table = table.append_column(name, values)
    respelt_counts = {"category_respelt": categories, "brand_respelt": brands, "currency_respelt": respelt}
    return Cleaned(table, nonzero_counts(**respelt_counts, **_imputed(table, mapping.fill, own)), read.unread)


def users(rows: pa.Table, mapping: UsersMapping) -> Cleaned:
    """Return canonical users: the raw id, the traits on the allow-list, and consent if the mapping names it."""
    read = _reader(rows, mapping)
    rows = read.rows
    table: Columns = {
        columns.USER_ID: identifier(rows, mapping.user_id),
        columns.ATTRIBUTES: _attributes(rows, mapping.attributes, mapping.fill, {}),
    }
    if mapping.consent:
        table[columns.CONSENT] = answers(rows, mapping.consent, mapping.consent_words)
    if mapping.consent_at:
        # A refusal counts at any time.
        agreed = pc.fill_null(table[columns.CONSENT], True)
        table[columns.CONSENT_AT] = read.moment(columns.CONSENT_AT, mapping.consent_at, required=agreed)
    rows = pa.table(table | read.columns())
    return Cleaned(rows, nonzero_counts(**_imputed(rows, mapping.fill)), read.unread)


def _imputed(rows: pa.Table, fill: Collection[str], own: Collection[str] = ()) -> Counts:
    """Return the number of filled values by their marks: for each canonical column, and for all attributes."""
    marks = rows[columns.ATTRIBUTES].combine_chunks()
    counts: Counts = {}
    for name in fill:
        mark = marks.field(f"{name}{IMPUTED}")
        key = f"{name if name in own else 'attribute'}{IMPUTED}"
        counts[key] = counts.get(key, 0) + len(mark) - mark.null_count
    return counts


def _title(rows: pa.Table, mapping: ItemsMapping) -> pa.Array:
    """Return the title; an item without one shows its id."""
    title = text(rows, mapping.title, ", ")
    if mapping.sentence_case:
        title = pc.utf8_capitalize(title)
    title_by_id = pc.binary_join_element_wise(pa.repeat("Item", len(rows)), identifier(rows, mapping.item_id), " ")
    return pc.coalesce(title, title_by_id)


def _filled(values: ArrowColumn, constant: str | float | None) -> ArrowColumn:
    if constant is None:
        return values
    return pc.fill_null(values, pa.scalar(float(constant) if values.type == pa.float64() else str(constant)))


def _mark(values: ArrowColumn) -> pa.Array:
    """Return the text `true` for a missing value, else null."""
    missing = pc.is_null(values)
    missing = missing.combine_chunks() if isinstance(missing, pa.ChunkedArray) else missing
    return pc.if_else(missing, pa.scalar("true"), pa.scalar(None, pa.string()))


def _variants(rows: pa.Table, mapping: ItemsMapping) -> dict[str, ArrowColumn]:
    """Return the ids of each row's variants by the attribute that has them, a line each."""
    if not mapping.variant_ids:
        return {}
    stated = pa.table({f"n{place}": identifier(rows, source) for place, source in enumerate(mapping.variant_ids)})
    statement = f"SELECT nullif(concat_ws(chr(10), {', '.join(stated.column_names)}), '') AS ids FROM stated"
    return {columns.VARIANT_IDS: query(statement, stated=stated)["ids"].combine_chunks()}


def _attributes(
    rows: pa.Table,
    sources: Sequence[Source],
    fill: Mapping[str, str | int | float],
    marks: Mapping[str, pa.Array],
    others: Mapping[str, ArrowColumn] = MappingProxyType({}),
) -> pa.StructArray:
    """Return the attributes as one struct column: all values as text or null, `others` and the marks at the end."""
    read = {attribute_of(source): words(rows, source) for source in sources}
    attributes = {name: _filled(values, fill.get(name)) for name, values in read.items()}
    marked = {name: _mark(values) for name, values in read.items() if name in fill} | dict(marks)
    attributes |= dict(others) | {f"{name}{IMPUTED}": mark for name, mark in marked.items()}
    arrays = list(attributes.values())
    return pa.StructArray.from_arrays(arrays, list(attributes)) if attributes else pa.array([{}] * len(rows))


_YES: Final = (
    *("true", "t", "yes", "y", "available", "in stock", "instock", "on stock", "low stock", "limited availability"),
    *("preorder", "pre order", "backorder", "back order", "on sale", "active"),
)
_NO: Final = (
    *("false", "f", "no", "n", "unavailable", "not available", "out of stock", "outofstock", "sold out", "soldout"),
    *("discontinued", "inactive", "none"),
)
STOCK_WORDS: Final[Mapping[str, bool]] = MappingProxyType(dict.fromkeys(_YES, True) | dict.fromkeys(_NO, False))
"""Words of stock in lower case, with spaces for `_` and `-`. The last part of a schema.org address counts."""
_DAY: Final = 86_400_000_000
_DATE: Final = r"^\s*\d{4}-\d\d-\d\d\s*$"
_CLOCK: Final = ("%H", "%I", "%c", "%X", "%s")
_OTHER_SCHEME: Final = r"(?i)^\s*[a-z][a-z0-9+.-]*:"
_WEB: Final = r"(?i)^\s*https?://"


def offers(read: Reader, mapping: ItemsMapping) -> Columns:
    """Return the columns of an offer; null if the catalogue states none."""
    stock = pa.nulls(len(read.rows), pa.bool_())
    return {
        columns.IN_STOCK: stock if mapping.available is None else _in_stock(read, mapping.available, mapping),
        columns.AVAILABLE_FROM: _moment(read, columns.AVAILABLE_FROM, mapping.available_from),
        columns.AVAILABLE_UNTIL: _end(read, mapping.available_until),
        columns.URL: _address(read, columns.URL, mapping.url),
        columns.IMAGE: _address(read, columns.IMAGE, mapping.image),
    }


def _in_stock(read: Reader, source: Source, mapping: ItemsMapping) -> ArrowColumn:
    """Return whether an item can be bought: by a boolean, a number of pieces above 0, or a word."""
    values = read.rows[column_of(source)]
    if pa.types.is_boolean(values.type):
        return values
    if not is_text(values.type):
        return pc.greater(number(read.rows, source), 0.0)
    texts = words(read.rows, source)
    known = dict(STOCK_WORDS) | {stock_word(word): yes for word, yes in mapping.available_words.items()}
    plain = pc.replace_substring_regex(pc.utf8_lower(texts), r"^https?://schema\.org/", "")
    plain = tidy(pc.replace_substring_regex(plain, "[_-]+", " "))
    place = pc.index_in(plain, value_set=pa.array(list(known), pa.string()))
    stated = pa.array(list(known.values()), pa.bool_()).take(place)
    pieces = pc.greater(number(read.rows, source, read.form), 0.0)
    stock = pc.coalesce(stated, pieces)
    read.record(columns.AVAILABLE, source, STOCK, unreadable(texts, stock), refused=False)
    return stock


def stock_word(word: str) -> str:
    """Return a word of stock as `STOCK_WORDS` writes it."""
    return " ".join(word.lower().replace("_", " ").replace("-", " ").split())


def _moment(read: Reader, key: str, source: Source | None) -> ArrowColumn:
    kind = pa.timestamp("us", tz="UTC")
    return pa.nulls(len(read.rows), kind) if source is None else read.moment(key, source)


def _end(read: Reader, source: Source | None) -> ArrowColumn:
    """Return the first moment after the sale: a date without a time of day includes its day."""
    moments = _moment(read, columns.AVAILABLE_UNTIL, source)
    if source is None:
        return moments
    texts, dates = words(read.rows, source), pa.repeat(False, len(read.rows))
    unread = pa.chunked_array([texts])
    for time_format in read.formats if pa.types.is_string(read.rows[column_of(source)].type) else [TIMESTAMP]:
        matches = pc.is_valid(instants(unread, [time_format], read.zone)).combine_chunks()
        dates = pc.or_(dates, pc.and_(matches, _whole_days(texts, time_format)))
        unread = pc.if_else(matches, pa.scalar(None, pa.string()), unread)
    later = pc.add(pc.cast(moments, pa.int64()), pc.if_else(pc.fill_null(dates, False), _DAY, 0))
    return pc.cast(later, moments.type)


def _whole_days(texts: ArrowColumn, time_format: str) -> ArrowColumn:
    """Return whether each text, which the format reads, is a date without a time of day."""
    if time_format == TIMESTAMP:
        return pc.match_substring_regex(texts, _DATE)
    return pa.repeat(time_format not in EPOCHS and not any(sign in time_format for sign in _CLOCK), len(texts))


def _address(read: Reader, key: str, source: Source | None) -> ArrowColumn:
    """Return a web address unchanged; another scheme, such as javascript:, is recorded as unreadable."""
    if source is None:
        return pa.nulls(len(read.rows), pa.string())
    texts = tidy(words(read.rows, source))
    other = pc.and_(pc.match_substring_regex(texts, _OTHER_SCHEME), pc.invert(pc.match_substring_regex(texts, _WEB)))
    read.record(key, source, ADDRESS, other)
    return texts
