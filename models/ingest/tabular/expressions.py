"""Check the expressions of a mapping, and define the sources of its keys: columns or expressions.

DuckDB parses the text of an expression but does not execute it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import PlainSerializer, PlainValidator

from models.ingest.tabular import expression_compiler
from models.primitives.arrow_sql import literal, query
from models.primitives.json_types import JsonObject

Kind = Literal["number", "text", "condition"]
"""The kind of value that a key of a mapping needs from an expression."""
LONGEST: Final = 2_000
DEEPEST: Final = 40
_HINT: Final = "write texts in 'single quotes', and column names with spaces or such as \"order\" in double quotes"


@dataclass(frozen=True)
class Expression:
    """A checked expression, with the kind of its value and the source columns that it reads."""

    text: str
    kind: Kind
    columns: tuple[str, ...]
    name: str = ""
    """The name of the result if it becomes an attribute."""

    @property
    def column(self) -> str:
        """Return the name of the computed column, which no column of a file is likely to have."""
        return f"the {self.kind} {self.text}"

    def sql(self, decimal: str, *, finite: bool = True) -> str:
        """Return the expression over the columns `t0`, `n0`, `t1` …: texts and numbers of `columns` by position."""
        return expression_compiler.compiled(tree(self.text), self.kind, decimal, finite=finite)[0]


def parse(text: Any, kind: Kind, name: str = "") -> Expression:
    """Check an expression as far as that is possible without rows. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("an expression is a text; write it in quotes")
    statement, columns = expression_compiler.compiled(tree(text), kind, ".")
    expression_compiler.try_out(statement, len(columns))
    return Expression(text, kind, columns, name)


def tree(text: str) -> JsonObject:
    """Return the nodes of one expression. Raises ValueError for anything else, such as FROM or a second statement."""
    if len(text) > LONGEST:
        raise ValueError(f"an expression has {LONGEST:,} characters at most, and this one has {len(text):,}")
    if not text.strip():
        raise ValueError('an expression is empty; write one such as "Quantity * Price"')
    selected, others = _parsed(text)
    if len(selected) != 1 or others != _parsed("1")[1] or selected[0]["alias"]:
        raise ValueError("this is more than one expression; write nothing but the expression itself")
    _check_depth(selected[0])
    return selected[0]


def _parsed(text: str) -> tuple[list[JsonObject], JsonObject]:
    """Return the selected nodes, and the rest of the statement."""
    try:
        text_of_tree = query(f"SELECT json_serialize_sql({literal(f'SELECT {text}')}) AS parsed")["parsed"][0].as_py()
        parsed = json.loads(text_of_tree)
    except RecursionError:
        raise ValueError(_too_deep()) from None
    if parsed["error"]:
        raise ValueError(f"the expression cannot be read ({parsed['error_message']}); {_HINT}")
    if len(parsed["statements"]) != 1:
        raise ValueError("this is more than one statement; write nothing but the expression itself")
    node = parsed["statements"][0]["node"]
    selected = node.pop("select_list", [])
    node.pop("query_location", None)
    return selected, node


def _check_depth(node: JsonObject) -> None:
    layer: list[JsonObject | list[Any]] = [node]
    for _ in range(DEEPEST * 4):  # one operation is up to four layers of lists and objects
        values = [list(part.values()) if isinstance(part, dict) else part for part in layer]
        layer = [child for inner in values for child in inner if isinstance(child, dict | list)]
        if not layer:
            return
    raise ValueError(_too_deep())


def _too_deep() -> str:
    return f"the expression is nested too deeply; {DEEPEST} operations within each other are the most"


_FORMS = 'write the name of a column in quotes, or { expr = "…" }'


def _written(value: Any) -> Any:
    """Return a source in the form of the mapping file."""
    if isinstance(value, list):
        return [_written(one) for one in value]
    if isinstance(value, Expression):
        return {"expr": value.text} | ({"name": value.name} if value.name else {})
    return value


def _condition_written(value: Expression) -> str:
    return value.text


def _source(value: Any, kind: Kind, *, with_name: bool = False) -> str | Expression:
    if isinstance(value, Expression):
        return value
    if isinstance(value, str):
        if not value:
            raise ValueError(f"the name of a column is empty; {_FORMS}")
        return value
    if not isinstance(value, Mapping):
        raise ValueError(_FORMS)
    keys = {"expr", "name"} if with_name else {"expr"}
    if set(value) != keys:
        form = '{ name = "…", expr = "…" }' if with_name else '{ expr = "…" }'
        raise ValueError(f"write an expression as {form}")
    name = value.get("name", "")
    if with_name and not (isinstance(name, str) and name):
        raise ValueError("the name of an attribute is a text; write it in quotes")
    return parse(value["expr"], kind, name)


def _sources(value: Any) -> str | Expression | list[str | Expression]:
    if value == []:
        raise ValueError("the list is empty; name a column")
    return [_source(one, "text") for one in value] if isinstance(value, list) else _source(value, "text")


def _condition(value: Any) -> Expression:
    return value if isinstance(value, Expression) else parse(value, "condition")


def _marks(value: Any) -> list[str | Expression]:
    """Return beginnings of category paths as texts, and conditions; a text by itself is a condition."""
    if isinstance(value, str):
        return [parse(value, "condition")]
    if not isinstance(value, list):
        raise ValueError('write an expression in quotes, or a list of category paths and { expr = "…" }')
    return [one if isinstance(one, str) else _mark(one) for one in value]


def _mark(value: Any) -> Expression:
    condition = _source(value, "condition")
    assert isinstance(condition, Expression)
    return condition


_AS_WRITTEN = PlainSerializer(_written)
Source = Annotated[str | Expression, PlainValidator(lambda value: _source(value, "text")), _AS_WRITTEN]
"""A column of texts, times or ids, or an expression."""
NumberSource = Annotated[str | Expression, PlainValidator(lambda value: _source(value, "number")), _AS_WRITTEN]
"""A column of numbers, or an expression."""
Sources = Annotated[str | Expression | list[str | Expression], PlainValidator(_sources), _AS_WRITTEN]
"""A source, or several whose values are joined."""
AttributeSource = Annotated[
    str | Expression, PlainValidator(lambda value: _source(value, "text", with_name=True)), _AS_WRITTEN
]
"""A column under its own name, or an expression with a name."""
Condition = Annotated[Expression, PlainValidator(_condition), PlainSerializer(_condition_written)]
"""An expression that is true or false."""
Marks = Annotated[list[str | Expression], PlainValidator(_marks), _AS_WRITTEN]
"""Beginnings of category paths, and expressions that are true or false."""


def listed(value: Any) -> list[str | Expression]:
    """Return the sources that a key names."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def direct(sources: Iterable[str | Expression]) -> Iterator[str]:
    """Return the columns that are read without an expression."""
    return (source for source in sources if isinstance(source, str))


def columns_of(sources: Iterable[str | Expression]) -> list[str]:
    """Return the columns of the file that these sources read, each once."""
    names = (name for one in sources for name in ([one] if isinstance(one, str) else one.columns))
    return list(dict.fromkeys(names))


def column_of(source: str | Expression) -> str:
    """Return the column that holds the values of a source after expressions are computed."""
    return source if isinstance(source, str) else source.column


def attribute_of(source: str | Expression) -> str:
    """Return the name of an attribute."""
    return source if isinstance(source, str) else source.name
