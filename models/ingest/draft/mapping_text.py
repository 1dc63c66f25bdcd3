"""Write pieces of mapping files as text."""

import json
import re
from functools import cache
from typing import Any

from models.ingest.tabular.mapping_keys import Expression
from models.primitives.arrow_sql import query, quoted


def toml(value: Any) -> str:
    """Return a text, number, list or table as TOML writes it on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key(name)} = {toml(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str) and '"' in value and "'" not in value and value.isprintable():
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def key(name: str) -> str:
    """Return a key as TOML writes it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def column(name: str) -> str:
    """Return the name of a column as an expression writes it."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and name.lower() not in _reserved()
    return name if plain else quoted(name)


def source_text(source: str | Expression) -> str:
    """Return a column or an expression as part of another expression."""
    return column(source) if isinstance(source, str) else source.text


def operand(source: str | Expression) -> str:
    """Return a column or an expression as an operand of another expression."""
    return column(source) if isinstance(source, str) else f"({source.text})"


@cache
def _reserved() -> frozenset[str]:
    """Return the reserved words of SQL."""
    keywords = query("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'")
    return frozenset(keywords["keyword_name"].to_pylist())
