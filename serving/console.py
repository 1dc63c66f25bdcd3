"""The only way to the terminal for what was read from data: it is shown as it stands and is never markup."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.escaping import for_terminal

_WIDTH: Final = 120
"""Columns, where the output is no terminal."""
_LONGEST_CELL: Final = 4000
"""Characters of a value: a hostile file may hold megabytes in one."""


def line(text: str = "", style: str = "", *, wrap: bool = True) -> None:
    """Print one line. Without `wrap` it is not broken, so that an address in it can be copied."""
    _console().print(_text(text, style), soft_wrap=not wrap)


def table(title: str, rows: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> None:
    """Print rows under a title; `names` are the keys of the columns and their labels."""
    shown = Table(title=_text(title, "bold"), title_justify="left", header_style="dim")
    for label in names.values():
        shown.add_column(_text(label), overflow="fold")
    for row in rows:
        shown.add_row(*(_text(formatted(row.get(name))) for name in names))
    _console().print(shown)


def formatted(value: Any) -> str:
    """Return a value as people read it: numbers with separators, nothing for None."""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def _text(text: str, style: str = "") -> Text:
    """Return the one thing that Rich neither parses nor replaces: markup, `:emoji:` and numbers stay as they are."""
    return Text(for_terminal(text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"), style=style)


def _console() -> Console:
    """Return a console on what `sys.stdout` is at this moment."""
    width = None if sys.stdout.isatty() else _WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)
