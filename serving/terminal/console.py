"""Prints text from data to the terminal, always literally and never as markup. No other module prints data."""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from models.primitives.escaping import for_terminal

_WIDTH: Final = 120
"""The width in columns if the output is no terminal and COLUMNS is not set."""
_LONGEST_CELL: Final = 4000
"""The longest value in characters: a hostile file may contain megabytes in one."""
_NARROW: Final[dict[str, Any]] = {"box": SIMPLE_HEAD, "padding": (0, 1, 0, 0), "pad_edge": False, "show_edge": False}
_INDENT: Final = 2
_UNLIMITED_WIDTH: Final = 10_000
_INTERVAL: Final = re.compile(r" (?=\([+-]?\d[\d.]*, [+-]?\d[\d.]*\)$)")
"""The space before the interval of a figure."""


def line(text: str = "", style: str = "", *, wrap: bool = True, indent: int = 0) -> None:
    """Print one line. Without `wrap` it is not broken, so that its addresses can be copied."""
    if wrap and indent:
        _console().print(Padding(_text(text, style), (0, 0, 0, indent)))
    else:
        _console().print(_text(" " * indent + text, style), soft_wrap=not wrap)


def table(title: str, rows: Sequence[Mapping[str, Any]], columns: Iterable[str] | None = None) -> None:
    """Print rows, as `--json` has them, under a title. `columns` are keys, or map keys to labels; by default all keys.

    A row may lack a key of a column.
    """
    names = columns if isinstance(columns, Mapping) else {name: name for name in columns or rows[0]}
    console, cells = _console(), [[_text(formatted(row.get(name))) for name in names] for row in rows]
    labels = list(names.values())
    boxed = _table(title, labels, cells)
    narrow = _table(title, labels, _stacked(cells), narrow=True)
    if _measured(console, boxed).maximum <= console.width:
        console.print(boxed)
    elif _measured(console, narrow).minimum <= console.width:
        console.print(narrow)
    else:
        _records(console, title, labels, cells)


def _stacked(cells: Iterable[Sequence[Text]]) -> list[list[Text]]:
    """Put intervals below their figures: 0.4397 (0.4261, 0.4528) takes two lines, and neither is broken."""
    return [[Text(_INTERVAL.sub("\n", cell.plain), style=cell.style) for cell in row] for row in cells]


def _measured(console: Console, shown: Table) -> Measurement:
    """Return the smallest and the largest width of a table."""
    return shown.__rich_measure__(console, console.options.update(max_width=_UNLIMITED_WIDTH))


def _records(console: Console, title: str, labels: Sequence[str], cells: Iterable[Sequence[Text]]) -> None:
    """Print each row as a heading and lines of labels and values, which fit any width."""
    console.print(_text(title, "bold"))
    for row in cells:
        labelled = [
            Text.assemble((f"{for_terminal(label)} ", "dim"), cell) for label, cell in zip(labels, row, strict=True)
        ]
        head, *others = [text for text, cell in zip(labelled, row, strict=True) if cell.plain] or [Text()]
        console.print(head)
        for line_ in _packed(others, console.width - _INDENT):
            console.print(Padding(line_, (0, 0, 0, _INDENT)))


def _packed(texts: Iterable[Text], width: int) -> list[Text]:
    """Join texts to lines of at most this width, broken between texts; a longer text gets its own lines."""
    lines: list[Text] = []
    for text in texts:
        if lines and len(lines[-1]) + 2 + len(text) <= width:
            lines[-1] = Text("  ").join([lines[-1], text])
        else:
            lines.append(text)
    return lines


def _table(title: str, labels: Iterable[str], cells: Iterable[Sequence[Text]], *, narrow: bool = False) -> Table:
    """Return a table with headers broken only between words. A `narrow` one has no frame and no wide header."""
    grid = Table(title=_text(title, "bold"), title_justify="left", header_style="dim", **(_NARROW if narrow else {}))
    rows = list(cells)
    for place, label in enumerate(labels):
        lines = [line for row in rows for line in row[place].plain.split("\n")]
        intervals = [line for line in lines if line.startswith("(")] if narrow else []
        least = max(map(len, [*label.split(), *intervals]), default=0)
        widest = max([least, *map(len, lines)])
        heads = wrap(label, widest, break_long_words=False, break_on_hyphens=False) if narrow else [label]
        grid.add_column(Text("\n").join(map(_text, heads)), overflow="fold", min_width=least)
    for row in rows:
        grid.add_row(*row)
    return grid


def formatted(value: object) -> str:
    """Return a value in readable form: numbers with separators, parameters as JSON, nothing for None."""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def _text(text: str, style: str = "") -> Text:
    """Return text that Rich does not interpret: markup, `:emoji:` and numbers stay as they are."""
    return Text(for_terminal(text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"), style=style)


def _console() -> Console:
    """Return a console on the present `sys.stdout`."""
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)
