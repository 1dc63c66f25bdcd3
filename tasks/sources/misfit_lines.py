"""Lines of a CSV file with more or fewer values than its header."""

from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import pyarrow.csv as arrow

MOST_SHARE: Final = 0.5
"""If more lines do not fit, the separator or the header is wrong, whatever a mapping tolerates."""
_NAMED: Final = 10
_ENOUGH: Final = 1_000
"""So many lines tell whether most of a file do not fit."""


class MisfitLine(NamedTuple):
    """A line that does not fit the header."""

    number: int
    """Its number among the rows of the file, from 0."""
    values: int
    columns: int
    """Values that the header has."""
    text: str


@dataclass
class MisfitQueue:
    """Collects the misfit lines that Arrow's reader skips; whoever reads the rows takes them out again."""

    lines: deque[MisfitLine] = field(default_factory=deque)
    count: int = 0
    above: int = 0
    """Lines above the header, which Arrow counts as rows."""
    stopped: bool = False
    """Whether reading ended because most lines do not fit."""

    def skip(self, row: arrow.InvalidRow) -> Literal["skip", "error"]:
        """Keep a line and tell Arrow to go on, or to stop if most lines so far do not fit."""
        self.count += 1
        self.lines.append(MisfitLine(row.number - self.above - 2, row.actual_columns, row.expected_columns, row.text))
        self.stopped = self.count > _ENOUGH and self.count > MOST_SHARE * (row.number - self.above - 1)
        return "error" if self.stopped else "skip"

    def take(self, before: int | None, skipped: int) -> list[MisfitLine]:
        """Take out the lines above row `before` of those that fit, or all; `skipped` were taken out earlier."""
        taken: list[MisfitLine] = []
        while self.lines and (before is None or self.lines[0].number - skipped - len(taken) < before):
            taken.append(self.lines.popleft())
        return taken


@dataclass
class MisfitSummary:
    """The misfit lines of a whole file: a few are described, all are counted."""

    columns: int
    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    """Their numbers among the rows of the file, from 0."""
    named: list[str] = field(default_factory=list)

    def add(self, number: int, line: int, values: int) -> None:
        """Count a line that an editor numbers `line`."""
        self.numbers.append(number)
        if len(self.named) < _NAMED:
            self.named.append(f"line {line} has {values} value{'s' if values != 1 else ''}")

    @property
    def sentence(self) -> str:
        """Which lines they are."""
        more = len(self.numbers) - len(self.named)
        others = f" and {more:,} more line{'s' if more > 1 else ''} with another number" if more else ""
        return f"{', '.join(self.named)}{others}, and the first line names {self.columns} columns"
