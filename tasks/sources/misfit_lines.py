"""Collects lines of a CSV file with more or fewer values than its header."""

from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import pyarrow.csv as arrow

MOST_SHARE: Final = 0.5
"""If more lines do not fit, the separator or the header is wrong, whatever a mapping tolerates."""
_MOST_EXAMPLES: Final = 10
_ENOUGH: Final = 1_000
"""The number of lines after which reading may stop."""


class MisfitLine(NamedTuple):
    """A line that does not fit the header."""

    number: int
    """Its position among the rows of the file, from 0."""
    values: int
    columns: int
    """The number of names in the header."""
    text: str


@dataclass
class MisfitQueue:
    """The misfit lines that Arrow's reader skips, until the reader of the rows takes them."""

    lines: deque[MisfitLine] = field(default_factory=deque)
    count: int = 0
    above: int = 0
    """The number of lines above the header, which Arrow counts as rows."""
    stopped: bool = False
    """Whether reading stopped because most lines do not fit."""

    def skip(self, row: arrow.InvalidRow) -> Literal["skip", "error"]:
        """Store a line; returns whether Arrow continues, or stops because most lines do not fit."""
        self.count += 1
        self.lines.append(MisfitLine(row.number - self.above - 2, row.actual_columns, row.expected_columns, row.text))
        self.stopped = self.count > _ENOUGH and self.count > MOST_SHARE * (row.number - self.above - 1)
        return "error" if self.stopped else "skip"

    def take(self, before: int | None, skipped: int) -> list[MisfitLine]:
        """Remove and return the lines above fitting row `before`, or all; `skipped` were removed earlier."""
        taken: list[MisfitLine] = []
        while self.lines and (before is None or self.lines[0].number - skipped - len(taken) < before):
            taken.append(self.lines.popleft())
        return taken


@dataclass
class MisfitSummary:
    """The misfit lines of a whole file: all are counted, and a few are described."""

    columns: int
    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    """Their positions among the rows of the file, from 0."""
    examples: list[str] = field(default_factory=list)

    def add(self, number: int, line: int, values: int) -> None:
        """Count a line, which an editor numbers `line`."""
        self.numbers.append(number)
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(f"line {line} has {values} value{'s' if values != 1 else ''}")

    @property
    def sentence(self) -> str:
        """Describe the lines."""
        more = len(self.numbers) - len(self.examples)
        others = f" and {more:,} more line{'s' if more > 1 else ''} with another number" if more else ""
        return f"{', '.join(self.examples)}{others}, and the first line names {self.columns} columns"
