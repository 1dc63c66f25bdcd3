"""Define the source of the values of a key in a mapping: a column of the file, or an expression over columns."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from models.ingest.expressions import syntax_tree
from models.ingest.expressions.syntax_tree import Expression, Kind

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
    return syntax_tree.parse(value["expr"], kind, name)


def _sources(value: Any) -> str | Expression | list[str | Expression]:
    if value == []:
        raise ValueError("the list is empty; name a column")
    return [_source(one, "text") for one in value] if isinstance(value, list) else _source(value, "text")


def _condition(value: Any) -> Expression:
    return value if isinstance(value, Expression) else syntax_tree.parse(value, "condition")


def _marks(value: Any) -> list[str | Expression]:
    """Return beginnings of category paths as texts, and conditions; a text by itself is a condition."""
    if isinstance(value, str):
        return [syntax_tree.parse(value, "condition")]
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
