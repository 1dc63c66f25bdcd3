"""Reads an expression of a mapping into a tree of nodes. DuckDB parses the text; nothing of it is executed."""

import json
from dataclasses import dataclass
from typing import Any, Final, Literal

from models.ingest.expressions import sql_compiler
from models.primitives.arrow_sql import literal, query

Kind = Literal["number", "text", "condition"]
"""What the key of a mapping needs from an expression."""
LONGEST: Final = 2_000
DEEPEST: Final = 40
_HINT: Final = "write texts in 'single quotes', and column names with spaces or such as \"order\" in double quotes"


@dataclass(frozen=True)
class Expression:
    """An expression that was checked, with what it computes and the source columns that it reads."""

    text: str
    kind: Kind
    columns: tuple[str, ...]
    name: str = ""
    """What the result is called if it becomes an attribute."""

    @property
    def column(self) -> str:
        """The name of the computed column; no mapping names a column of a file like this by chance."""
        return f"the {self.kind} {self.text}"

    def sql(self, decimal: str, *, finite: bool = True) -> str:
        """The expression over the columns `t0`, `n0`, `t1` …: texts and numbers of `columns`, by their places."""
        return sql_compiler.compiled(tree(self.text), self.kind, decimal, finite=finite)[0]


def parse(text: Any, kind: Kind, name: str = "") -> Expression:
    """Check an expression as far as that is possible without rows. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("an expression is a text; write it in quotes")
    statement, columns = sql_compiler.compiled(tree(text), kind, ".")
    sql_compiler.try_out(statement, len(columns))
    return Expression(text, kind, columns, name)


def tree(text: str) -> Any:
    """The nodes of one expression; anything around it, such as FROM or a second statement, raises ValueError."""
    if len(text) > LONGEST:
        raise ValueError(f"an expression has {LONGEST:,} characters at most, and this one has {len(text):,}")
    if not text.strip():
        raise ValueError('an expression is empty; write one such as "Quantity * Price"')
    selected, rest = _parsed(text)
    if len(selected) != 1 or rest != _parsed("1")[1] or selected[0]["alias"]:
        raise ValueError("this is more than one expression; write nothing but the expression itself")
    _check_depth(selected[0])
    return selected[0]


def _parsed(text: str) -> tuple[list[Any], Any]:
    """What is selected, and all else that the statement says."""
    try:
        said = query(f"SELECT json_serialize_sql({literal(f'SELECT {text}')}) AS parsed")["parsed"][0].as_py()
        parsed = json.loads(said)
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


def _check_depth(node: Any) -> None:
    layer = [node]
    for _ in range(DEEPEST * 4):  # one operation is up to four layers of lists and objects
        values = [list(part.values()) if isinstance(part, dict) else part for part in layer]
        layer = [child for inner in values for child in inner if isinstance(child, dict | list)]
        if not layer:
            return
    raise ValueError(_too_deep())


def _too_deep() -> str:
    return f"the expression is nested too deeply; {DEEPEST} operations within each other are the most"
