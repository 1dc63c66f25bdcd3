"""Read the offer of an item in a catalogue: stock, dates of sale, page and picture."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.ingest.expressions.value_sources import Source, column_of
from models.ingest.tabular.column_reader import Reader
from models.ingest.tabular.config import ItemsMapping
from models.ingest.tabular.numbers import EMPTY_CELLS
from models.ingest.tabular.timestamps import EPOCHS, TIMESTAMP, instants
from models.ingest.tabular.unreadable_cells import ADDRESS, STOCK
from models.ingest.tabular.values import number, tidy, words
from models.primitives.arrow_types import ArrowColumn, Columns

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
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return pc.greater(number(read.rows, source), 0.0)
    texts = words(read.rows, source)
    known = dict(STOCK_WORDS) | {stock_word(word): yes for word, yes in mapping.available_words.items()}
    plain = pc.replace_substring_regex(pc.utf8_lower(texts), r"^https?://schema\.org/", "")
    plain = tidy(pc.replace_substring_regex(plain, "[_-]+", " "))
    place = pc.index_in(plain, value_set=pa.array(list(known), pa.string()))
    stated = pa.array(list(known.values()), pa.bool_()).take(place)
    pieces = pc.greater(number(read.rows, source, read.form), 0.0)
    stock = pc.coalesce(stated, pieces)
    empty = pc.is_in(pc.utf8_trim_whitespace(texts), value_set=pa.array(EMPTY_CELLS))
    bad = pc.and_(pc.and_(pc.is_valid(texts), pc.invert(empty)), pc.is_null(stock))
    read.record(columns.AVAILABLE, source, STOCK, bad, refused=False)
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
