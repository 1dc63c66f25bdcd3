"""Convert values of table columns to ids, words, numbers and answers, and compute expressions over them."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from models.columns import CATEGORY_SEPARATOR
from models.errors import TailorbirdError
from models.ingest.canonical_schema import INSTANT
from models.ingest.tabular.expression_compiler import number_of
from models.ingest.tabular.mapping_keys import Expression, Source, Sources, column_of, listed
from models.ingest.tabular.numbers import PLAIN, NumberForm, parsed, unreadable
from models.primitives.arrow_sql import literal, query
from models.primitives.arrow_types import ArrowColumn, Columns


def words(rows: pa.Table, column: Source) -> pa.Array:
    """Return the values as text, null if there is none."""
    column = column_of(column)
    values = rows[column]
    if pa.types.is_floating(values.type):
        values = _written(_without_nan(values))
    try:
        texts = pc.cast(values, pa.string()).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise TailorbirdError(
            f"The column {column!r} holds {values.type}, which cannot be read as text. "
            "Write it as UTF-8 text, or take it out of the mapping."
        ) from None
    # PostgreSQL accepts every character except this one.
    texts = pc.replace_substring(texts, "\0", "\N{REPLACEMENT CHARACTER}")
    return _or_null(texts)


def _or_null(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def tidy(texts: pa.Array) -> pa.Array:
    """Return words without space around them, and with a single space between them."""
    return _or_null(pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"[\s\p{Z}]+", " ")))


def _written(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return numbers as ids. Programs turn integers into floats in a column with gaps: 12.0 is the id 12.

    Each number is converted separately, so an id does not depend on the other numbers.
    """
    try:
        return pc.cast(values, pa.int64())
    except pa.ArrowInvalid:
        numbers = pc.cast(values, pa.float64())
    whole = pc.and_(pc.equal(numbers, pc.floor(numbers)), pc.less(pc.abs(numbers), 2.0**63))
    integers = pc.cast(pc.if_else(whole, numbers, pa.scalar(None, pa.float64())), pa.int64())
    return pc.coalesce(pc.cast(integers, pa.string()), pc.cast(values, pa.string()))


def _without_nan(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def identifier(rows: pa.Table, column: Sources | None) -> pa.Array:
    """Return an id from one column or several; null if any of them is null or empty, or none is named."""
    if column is None:
        return pa.nulls(len(rows), pa.string())
    parts = [words(rows, name) for name in listed(column)]
    return pc.binary_join_element_wise(*parts, "-", null_handling="emit_null")


def text(rows: pa.Table, column: Sources, separator: str, alternatives: str | None = None) -> pa.Array:
    """Return tidy text from one column or several, without nulls (Arrow's own "skip" loses all-null rows).

    Of several words in one column, separated by `alternatives`, the first counts.
    """
    parts = [words(rows, name) for name in listed(column)]
    if alternatives:
        parts = [pc.replace_substring_regex(part, f"(?s){re.escape(alternatives)}.*$", "") for part in parts]
    joined, *others = map(tidy, parts or [pa.nulls(len(rows), pa.string())])
    for other in others:
        both = pc.binary_join_element_wise(joined, other, separator, null_handling="emit_null")
        joined = pc.coalesce(both, joined, other)
    return joined


def levels(paths: pa.Array, separator: str) -> pa.Array:
    """Return paths with the canonical separator between tidy levels; empty levels are left out."""
    split = pc.replace_substring_regex(paths, rf"\s*{re.escape(separator)}\s*", CATEGORY_SEPARATOR)
    bar = re.escape(CATEGORY_SEPARATOR)
    single = pc.replace_substring_regex(split, f"(?:{bar})+", CATEGORY_SEPARATOR)
    return _or_null(pc.replace_substring_regex(single, f"^{bar}|{bar}$", ""))


def optional_words(rows: pa.Table, column: Source | None) -> pa.Array:
    """Return the values as text; all null if no column is named."""
    return pa.nulls(len(rows), pa.string()) if column is None else words(rows, column)


def number(rows: pa.Table, column: Source | None, form: NumberForm = PLAIN) -> ArrowColumn:
    """Return numbers, null for a missing value and for NaN, which rules and sums cannot use."""
    if column is None:
        return pa.nulls(len(rows), pa.float64())
    column = column_of(column)
    values = rows[column]
    if is_text(values.type):
        return _without_nan(parsed(values, form))
    try:
        # Not safe: a large integer may lose its last digits.
        return _without_nan(pc.cast(values, pa.float64(), safe=False))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise TailorbirdError(
            f"The column {column!r} must hold numbers, found {values.type}. Fix the file or the mapping."
        ) from None


def places(values: ArrowColumn) -> ArrowColumn:
    """Return numbers as positions in a list, as int32; null for a number that is not whole."""
    sound = pc.and_(pc.equal(values, pc.floor(values)), pc.less(pc.abs(values), 2.0**31))
    return pc.cast(pc.if_else(sound, values, pa.scalar(None, pa.float64())), pa.int32())


def translated(texts: pa.Array, table: Mapping[str, str]) -> pa.Array:
    """Return the words translated by the table; a word without a translation stays unchanged."""
    if not table:
        return texts
    known = pc.index_in(texts, value_set=pa.array(list(table), pa.string()))
    return pc.coalesce(pa.array(list(table.values()), pa.string()).take(known), texts)


def answers(rows: pa.Table, column: Source, yes: Sequence[str]) -> pa.Array:
    """Return true for an answer that means yes, false for another answer, null without an answer."""
    texts = tidy(words(rows, column))
    agreed = pc.is_in(pc.utf8_lower(texts), value_set=pa.array([word.strip().lower() for word in yes], pa.string()))
    return pc.if_else(pc.is_valid(texts), agreed, pa.scalar(None, pa.bool_()))


_LITERAL: Final = re.compile(r"'(?:[^']|'')*'")


def computed(rows: pa.Table, expressions: Sequence[Expression], form: NumberForm = PLAIN) -> pa.Table:
    """Return the rows with a column for each expression; a value that cannot be computed is null."""
    for expression in dict.fromkeys(expressions):
        rows = rows.append_column(expression.column, value_of(rows, expression, form))
    return rows


def value_of(rows: pa.Table, expression: Expression, form: NumberForm = PLAIN) -> pa.Array:
    """Return the value of an expression in each row."""
    read: Columns = {"row": pa.nulls(len(rows), pa.int8())}  # a table without columns has no rows
    written = []
    for place, name in enumerate(expression.columns):
        read[f"t{place}"] = words(rows, name)
        if is_number(rows[name].type):
            read[f"n{place}"] = number(rows, name)
        elif form.grouped:  # the SQL handles only the decimal sign
            read[f"n{place}"] = parsed(read[f"t{place}"], form)
        else:
            written.append(f"{number_of(f't{place}', form.decimal)} AS n{place}")
    forms = ", ".join([*read, *written])
    statement = f"SELECT {expression.sql(form.decimal)} AS value FROM (SELECT {forms} FROM rows)"
    return query(statement, rows=pa.table(read))["value"].combine_chunks()


def unreadable_columns(rows: pa.Table, expression: Expression, form: NumberForm, values: ArrowColumn) -> Columns:
    """Return by column the rows without a value because the cell of that column is no number.

    A row counts if the expression is NaN with NaN in place of unreadable cells; other rows do not use the cell.
    """
    sql = expression.sql(form.decimal, finite=False)
    used = set(re.findall(r"\bn\d+\b", _LITERAL.sub("", sql)))  # other columns are read as texts
    numbers = {name: _numbers(rows, name, form) for place, name in enumerate(expression.columns) if f"n{place}" in used}
    bad = {
        name: pc.and_(pc.fill_null(unreadable(rows[name], numbers[name]), False), pc.is_null(values))
        for name in numbers
        if is_text(rows[name].type)
    }
    if not any(pc.any(flags).as_py() for flags in bad.values()):
        return {}
    read: Columns = {f"t{place}": words(rows, name) for place, name in enumerate(expression.columns)}
    for place, name in enumerate(expression.columns):
        if name in numbers:
            read[f"n{place}"] = pc.if_else(bad[name], math.nan, numbers[name]) if name in bad else numbers[name]
    nan = query(f"SELECT coalesce(isnan({sql}), false) AS nan FROM rows", rows=pa.table(read))["nan"].combine_chunks()
    return {name: pc.and_(flags, nan) for name, flags in bad.items()}


def _numbers(rows: pa.Table, name: str, form: NumberForm) -> ArrowColumn:
    return number(rows, name) if is_number(rows[name].type) else parsed(words(rows, name), form)


def matching(rows: pa.Table, condition: Expression | None, form: NumberForm = PLAIN) -> pa.Array:
    """Return whether the condition is true in each row; null is false, and without a condition all rows match."""
    if condition is None:
        return pa.repeat(True, len(rows))
    return pc.fill_null(value_of(rows, condition, form), False)


def merchandise(
    rows: pa.Table, marks: Sequence[str | Expression], category: ArrowColumn, form: NumberForm = PLAIN
) -> pa.Array:
    """Return whether each item is merchandise by the marks of a mapping; null if the row does not show it."""
    marked = [
        value_of(rows, mark, form) if isinstance(mark, Expression) else pc.starts_with(category, mark) for mark in marks
    ]
    return pc.invert(reduce(pc.or_kleene, marked)) if marked else pa.nulls(len(rows), pa.bool_())


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_number(kind: pa.DataType) -> bool:
    """Return whether a column holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


TIMESTAMP: Final = "timestamp"
EPOCHS: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Microseconds in one unit of each format that counts since 1970."""

_DAY: Final = 86_400_000_000
_FIRST: Final = -62_135_596_800_000_000
_LAST: Final = 253_402_300_799_999_999
# The years 1 to 9999 in microseconds: other years have no date.
_ZONED: Final = r"^\d{4}-\d\d-\d\d[T ]\d\d.*(Z|UTC|[+-]\d\d(:?\d\d)?)$"
_LOCAL: Final = r"^\d{4}-\d\d-\d\d([T ][0-9:.]+)?$"


def known_zone(name: str) -> str:
    """Return the name of a time zone. Raises ValueError if there is none of this name."""
    try:
        pc.assume_timezone(pa.array([0], pa.timestamp("us")), name)
    except (pa.ArrowInvalid, ValueError):
        fault = f"there is no time zone {name!r}; use a name of the IANA database such as Europe/Berlin"
        raise ValueError(fault) from None
    return name


def known_formats(stated: str | list[str]) -> str | list[str]:
    """Return one or several time formats. Raises ValueError if one of them cannot be used."""
    if not stated:
        raise ValueError("time_format is empty; name at least one format")
    known = f"use {TIMESTAMP}, {', '.join(EPOCHS)} or a format such as %d.%m.%Y %H:%M"
    for name in [stated] if isinstance(stated, str) else stated:
        if name in (TIMESTAMP, *EPOCHS):
            continue
        if "%" not in name:
            raise ValueError(f"there is no time format {name!r}; {known}")
        try:
            query(f"SELECT try_strptime('', {literal(name)})")
        except duckdb.Error as error:
            fault = f"the time format {name!r} cannot be used ({str(error).splitlines()[0]}); {known}"
            raise ValueError(fault) from None
    return stated


def instants(values: pa.ChunkedArray, formats: Sequence[str], zone: str) -> ArrowColumn:
    """Return times in UTC to the microsecond; a time without a zone is in `zone`."""
    return parse_times(values, formats, zone)[0]


def parse_times(values: pa.ChunkedArray, formats: Sequence[str], zone: str) -> tuple[ArrowColumn, int]:
    """Return times in UTC, each by the first format that reads it, and the number of times without a zone."""
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return _native(values, zone)
    times, assumed = _read(values, formats[0], zone)
    for time_format in formats[1:]:
        if not times.null_count:
            break
        unread = pc.if_else(pc.is_null(times), values, pa.scalar(None, values.type))
        more, without = _read(unread, time_format, zone)
        times, assumed = pc.coalesce(times, more), assumed + without
    return times, assumed


def _read(values: pa.ChunkedArray, time_format: str, zone: str) -> tuple[ArrowColumn, int]:
    if time_format in EPOCHS:
        return _bounded(_counted(values, EPOCHS[time_format])).cast(INSTANT), 0
    words = pc.utf8_trim_whitespace(pc.cast(values, pa.string()))
    return _parsed_texts(words, time_format, zone)


def _native(values: pa.ChunkedArray, zone: str) -> tuple[ArrowColumn, int]:
    tz = getattr(values.type, "tz", None)
    try:
        moments = pc.cast(values, pa.timestamp("us", tz=tz), safe=getattr(values.type, "unit", None) != "ns")
    except pa.ArrowInvalid:  # microseconds cannot count these years
        days = pa.types.is_date32(values.type)
        counts = pc.cast(values, pa.int32()).cast(pa.int64()) if days else pc.cast(values, pa.int64())
        factor = _DAY if days else {"s": 1_000_000}.get(getattr(values.type, "unit", ""), 1_000)
        moments = _counted(counts, factor).cast(pa.timestamp("us", tz=tz))
    bounded = _bounded(moments)
    return (bounded.cast(INSTANT), 0) if tz else (_at(bounded, zone), pc.count(bounded).as_py())


def _at(local: ArrowColumn, zone: str) -> ArrowColumn:
    """Return local times of a zone as instants."""
    return pc.cast(pc.assume_timezone(local, zone, ambiguous="earliest", nonexistent="latest"), INSTANT)


def _bounded(moments: ArrowColumn) -> ArrowColumn:
    """Return the moments, null outside the years 1 to 9999."""
    micros = pc.cast(moments, pa.int64())
    span = pc.min_max(micros).as_py()
    if span["min"] is None or (span["min"] >= _FIRST and span["max"] <= _LAST):
        return moments
    inside = pc.and_(pc.greater_equal(micros, _FIRST), pc.less_equal(micros, _LAST))
    return pc.if_else(inside, moments, pa.scalar(None, moments.type))


def decimals(values: ArrowColumn) -> pa.ChunkedArray:
    """Return the numbers of texts, null for a text that is none."""
    text = pa.table({"text": pc.cast(values, pa.string())})
    return query("SELECT try_cast(trim(text) AS DOUBLE) AS number FROM rows", rows=text)["number"]


def _counted(values: ArrowColumn, factor: int) -> ArrowColumn:
    """Return numbers (or their text) since 1970 in microseconds; null if invalid or outside the range of int64."""
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        values = decimals(values)
    largest = _LAST // factor
    size = pc.cast(values, pa.float64(), safe=False)
    inside = pc.fill_null(pc.less_equal(pc.abs(size), float(largest)), False)
    known = pc.if_else(inside, values, pa.scalar(None, values.type))
    if pa.types.is_floating(known.type):
        return pc.cast(pc.round(pc.multiply(pc.cast(known, pa.float64()), float(factor))), pa.int64())
    return pc.multiply(pc.cast(known, pa.int64()), factor)


def _parsed_texts(words: pa.ChunkedArray, time_format: str, zone: str) -> tuple[ArrowColumn, int]:
    """Return text as instants: ISO 8601, or by a format."""
    rows = pa.table({"text": words})
    if time_format == TIMESTAMP:
        statement = f"""
            SELECT CASE WHEN regexp_matches(text, '{_ZONED}') THEN try_cast(text AS TIMESTAMPTZ) END AS moment,
                   CASE WHEN regexp_matches(text, '{_LOCAL}') THEN try_cast(text AS TIMESTAMP) END AS local FROM rows
        """
        read = query(statement, rows=rows)
        local = _bounded(read["local"])
        return pc.coalesce(_bounded(read["moment"]).cast(INSTANT), _at(local, zone)), pc.count(local).as_py()
    times = query(f"SELECT try_strptime(text, {literal(time_format)}) AS moment FROM rows", rows=rows)["moment"]
    return _native(times, zone)
