"""Computes the expressions of a mapping over rows: one column for each, by DuckDB in memory."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from models.shapes.expression_sql import number_of
from models.shapes.expressions import Expression
from models.shapes.table_numbers import PLAIN, NumberForm, parsed
from models.shapes.table_values import number, words
from models.sql import query


def computed(rows: pa.Table, expressions: Sequence[Expression], form: NumberForm = PLAIN) -> pa.Table:
    """The rows with a column for each expression; a value that cannot be computed is null."""
    for expression in dict.fromkeys(expressions):
        rows = rows.append_column(expression.column, value_of(rows, expression, form))
    return rows


def value_of(rows: pa.Table, expression: Expression, form: NumberForm = PLAIN) -> Any:
    """What an expression comes to in each row."""
    read: dict[str, Any] = {"row": pa.nulls(len(rows), pa.int8())}  # a table without columns has no rows
    written = []
    for place, name in enumerate(expression.columns):
        read[f"t{place}"] = words(rows, name)
        if _is_number(rows[name].type):
            read[f"n{place}"] = number(rows, name)
        elif form.grouped:  # SQL knows the decimal sign alone
            read[f"n{place}"] = parsed(read[f"t{place}"], form)
        else:
            written.append(f"{number_of(f't{place}', form.decimal)} AS n{place}")
    forms = ", ".join([*read, *written])
    statement = f"SELECT {expression.sql(form.decimal)} AS value FROM (SELECT {forms} FROM rows)"
    return query(statement, rows=pa.table(read))["value"].combine_chunks()


def matching(rows: pa.Table, condition: Expression | None, form: NumberForm = PLAIN) -> pa.Array:
    """Whether the condition is true of each row; unknown is false, and without a condition all match."""
    if condition is None:
        return pa.repeat(True, len(rows))
    return pc.fill_null(value_of(rows, condition, form), False)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
