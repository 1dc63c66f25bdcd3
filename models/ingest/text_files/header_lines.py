"""Find the header line of a CSV file if a title stands above it."""

import csv
from collections import Counter
from collections.abc import Sequence
from typing import Final

_MOST_ROWS: Final = 20
"""The number of rows in which the header is searched."""


def lines_above_header(lines: Sequence[str], separator: str) -> int:
    """Return how many lines stand above the header: 0 unless the rows above it have far fewer values than most rows."""
    reader = csv.reader(lines, delimiter=separator)
    rows: list[tuple[int, list[str]]] = []
    above = 0
    try:
        for row in reader:
            rows += [(above, row)] if row else []
            above = reader.line_num
    except csv.Error:
        return 0
    widths = Counter(len(row) for _, row in rows if len(row) > 1)
    width = max(widths, key=lambda one: (widths[one], one), default=0)
    for above, row in rows[:_MOST_ROWS]:
        filled = sum(bool(cell.strip()) for cell in row)
        if len(row) == width and filled > width / 2:
            return above
        if filled >= width / 2:  # no title: a header that does not fit its lines
            return 0
    return 0
