"""Compute the expressions of a mapping over rows: one column for each, with DuckDB in memory."""

import math
import re
from collections.abc import Sequence
from functools import reduce
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.expressions.sql_compiler import number_of
from models.ingest.expressions.syntax_tree import Expression
from models.ingest.tabular.numbers import PLAIN, NumberForm, parsed, unreadable
from models.ingest.tabular.values import number, words
from models.primitives.arrow_sql import query
from models.primitives.arrow_types import ArrowColumn, Columns

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
        if _is_number(rows[name].type):
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
    bad = {name: _unusable(rows[name], numbers[name], values) for name in numbers if _is_text(rows[name].type)}
    if not any(pc.any(flags).as_py() for flags in bad.values()):
        return {}
    read: Columns = {f"t{place}": words(rows, name) for place, name in enumerate(expression.columns)}
    for place, name in enumerate(expression.columns):
        if name in numbers:
            read[f"n{place}"] = pc.if_else(bad[name], math.nan, numbers[name]) if name in bad else numbers[name]
    nan = query(f"SELECT coalesce(isnan({sql}), false) AS nan FROM rows", rows=pa.table(read))["nan"].combine_chunks()
    return {name: pc.and_(flags, nan) for name, flags in bad.items()}


def _unusable(texts: ArrowColumn, numbers: ArrowColumn, values: ArrowColumn) -> ArrowColumn:
    return pc.and_(pc.fill_null(unreadable(texts, numbers), False), pc.is_null(values))


def _numbers(rows: pa.Table, name: str, form: NumberForm) -> ArrowColumn:
    return number(rows, name) if _is_number(rows[name].type) else parsed(words(rows, name), form)


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


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
