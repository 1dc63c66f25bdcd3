"""Hold sample rows of a table, and describe each column by its cells."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.draft.names import rank
from models.ingest.tabular import format_suggestions
from models.ingest.tabular.format_suggestions import Suggestion

MOSTLY: Final = 0.9
_SEVERAL: Final = 0.5
_EMAIL: Final = r"^[^@\s]+@[^@\s]+\.[A-Za-z]{2,}$"


class Column:
    """One column of a sample."""

    def __init__(self, name: str, cells: pa.ChunkedArray) -> None:
        """Store the cells."""
        self.name, self.cells = name, cells

    @cached_property
    def texts(self) -> pa.Array:
        """Return the cells as trimmed texts, null if they are empty or have no text, such as bytes."""
        try:
            cells = _whole(self.cells).cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return pa.nulls(len(self.cells), pa.string())
        texts = pc.utf8_trim_whitespace(cells).combine_chunks()
        return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)

    @cached_property
    def stated(self) -> pa.Array:
        """Return the texts that are not empty."""
        return self.texts.drop_null()

    @property
    def filled(self) -> float:
        """Return the share of cells that are not empty."""
        return len(self.stated) / max(1, len(self.texts))

    @cached_property
    def values(self) -> frozenset[str]:
        """Return the different texts."""
        return frozenset(pc.unique(self.stated).to_pylist())

    @property
    def distinct(self) -> float:
        """Return the number of different texts as a share of all texts."""
        return len(self.values) / max(1, len(self.stated))

    @cached_property
    def number_forms(self) -> list[Suggestion]:
        """Return the number formats that read the cells."""
        return format_suggestions.numbers(self.stated)

    @property
    def is_number(self) -> bool:
        """Return whether almost all cells are numbers."""
        return bool(self.number_forms) and self.number_forms[0].reads >= MOSTLY * self.number_forms[0].of

    @property
    def is_typed_time(self) -> bool:
        """Return whether the file declares the column as times."""
        return bool(pa.types.is_timestamp(self.cells.type) or pa.types.is_date(self.cells.type))

    @cached_property
    def time_forms(self) -> list[Suggestion]:
        """Return the time formats that read the cells."""
        return format_suggestions.times(self.stated)

    @property
    def is_time(self) -> bool:
        """Return whether almost all cells are times."""
        return self.time_share >= MOSTLY

    @property
    def time_share(self) -> float:
        """Return the share of cells that one time format reads."""
        if self.is_typed_time:
            return 1.0
        return self.time_forms[0].reads / self.time_forms[0].of if self.time_forms else 0.0

    @cached_property
    def days(self) -> pa.Array:
        """Return the day of each time in any order of its parts: 1.5.2025 and 2025-05-01 are equal."""
        return pa.array([_day(text) if text else None for text in self.texts.to_pylist()], pa.string())

    @property
    def is_email(self) -> bool:
        """Return whether most cells are e-mail addresses."""
        matches = pc.sum(pc.match_substring_regex(self.stated, _EMAIL)).as_py() or 0
        return bool(matches > _SEVERAL * len(self.stated))

    def share(self, pattern: str) -> float:
        """Return the share of cells that match a regular expression."""
        matches = pc.sum(pc.match_substring_regex(self.stated, pattern)).as_py() or 0
        return float(matches / max(1, len(self.stated)))


@dataclass(frozen=True)
class Sample:
    """Some rows of a table, or of several files with the same columns."""

    files: tuple[str, ...]
    """Names of the files, without folders."""
    rows: pa.Table
    separator: str = ","
    encoding: str = "utf-8"
    encoding_note: str = ""
    """A note if the encoding is uncertain."""
    skip_lines: int = 0
    """Lines above the header."""

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Return the columns by name."""
        return {name: Column(name, self.rows[name]) for name in self.rows.column_names}

    def candidates(self, role: str, columns: Iterable[str] | None = None) -> list[Column]:
        """Return the columns with a usual name of a role, the most usual names first."""
        names = self.rows.column_names if columns is None else columns
        ranked = [(place, order, name) for order, name in enumerate(names) if (place := rank(name, role)) is not None]
        return [self.columns[name] for _, _, name in sorted(ranked)]


def overlap(some: Column, others: Column) -> float:
    """Return the share of different values that another column also has."""
    return len(some.values & others.values) / max(1, len(some.values))


def _day(text: str) -> str:
    parts = re.findall(r"\d+", text)
    return " ".join(sorted(part.lstrip("0") for part in parts[:3])) if len(parts) > 1 else text


def _whole(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return whole numbers as integers: 12.0 is the id 12."""
    if pa.types.is_floating(cells.type):
        try:
            return cells.cast(pa.int64())
        except pa.ArrowInvalid:
            return cells
    return cells
