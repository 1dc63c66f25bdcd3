"""Convert values of table columns to ids, words, numbers and answers. Arrow in, Arrow out."""

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from models.columns import CATEGORY_SEPARATOR
from models.errors import TailorbirdError
from models.ingest.expressions.value_sources import Source, Sources, column_of, listed
from models.ingest.tabular.numbers import PLAIN, NumberForm, parsed
from models.primitives.arrow_types import ArrowColumn


class UnreadableColumnError(TailorbirdError):
    """A column cannot be read by its mapping. The message has the column and its type, never a value."""


def words(rows: pa.Table, column: Source) -> pa.Array:
    """Return the values as text, null if there is none."""
    column = column_of(column)
    values = rows[column]
    if pa.types.is_floating(values.type):
        values = _written(_without_nan(values))
    try:
        texts = pc.cast(values, pa.string()).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UnreadableColumnError(
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
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return _without_nan(parsed(values, form))
    try:
        # Not safe: a large integer may lose its last digits.
        return _without_nan(pc.cast(values, pa.float64(), safe=False))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UnreadableColumnError(
            f"The column {column!r} must hold numbers, found {values.type}. Fix the file or the mapping."
        ) from None


def place(rows: pa.Table, column: Source | None, form: NumberForm = PLAIN) -> ArrowColumn:
    """Return positions in a list as int32; null if there is no whole number."""
    values = number(rows, column, form)
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
