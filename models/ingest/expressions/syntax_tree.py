"""Parse an expression of a mapping into a tree of nodes. DuckDB parses the text but does not execute it."""

import json
from dataclasses import dataclass
from typing import Any, Final, Literal

from models.ingest.expressions import sql_compiler
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
        return sql_compiler.compiled(tree(self.text), self.kind, decimal, finite=finite)[0]


def parse(text: Any, kind: Kind, name: str = "") -> Expression:
    """Check an expression as far as that is possible without rows. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("an expression is a text; write it in quotes")
    statement, columns = sql_compiler.compiled(tree(text), kind, ".")
    sql_compiler.try_out(statement, len(columns))
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
