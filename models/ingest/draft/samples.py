"""Hold sample rows of a table, and score columns for the roles in a mapping by their names and cells."""

import re
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from models.ingest.draft.vocabulary import plain, rank
from models.ingest.tabular import column_reader, numbers
from models.ingest.tabular.column_reader import Suggestion
from models.ingest.tabular.numbers import NumberForm

UNIQUE: Final = 0.95
SEVERAL: Final = 0.3
"""The share of cells from which they are no exception; of common ids, the share from which columns hold the same id."""
_MOSTLY: Final = 0.9
_HALF: Final = 0.5
_FEW: Final = 0.02
_SOME_FRACTIONS: Final = 0.05
EMAIL: Final = r"^[^@\s]+@[^@\s]+\.[A-Za-z]{2,}$"
_DATE: Final = r"^(\d{1,2}[./-] ?\d{1,2}[./-] ?\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2})($|\D)"
"""A column may have dates in several formats."""


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
        return column_reader.numbers(self.stated)

    @property
    def is_number(self) -> bool:
        """Return whether almost all cells are numbers."""
        return bool(self.number_forms) and self.number_forms[0].reads >= _MOSTLY * self.number_forms[0].of

    @property
    def is_typed_time(self) -> bool:
        """Return whether the file declares the column as times."""
        return bool(pa.types.is_timestamp(self.cells.type) or pa.types.is_date(self.cells.type))

    @cached_property
    def time_forms(self) -> list[Suggestion]:
        """Return the time formats that read the cells."""
        return column_reader.times(self.stated)

    @property
    def is_time(self) -> bool:
        """Return whether almost all cells are times."""
        return self.time_share >= _MOSTLY

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
        return self.share(EMAIL) > _HALF

    def numbers(self, form: NumberForm) -> pa.Array:
        """Return the cells as numbers of this form, null if they are none."""
        return numbers.parsed(self.texts, form)

    @property
    def is_decimal(self) -> bool:
        """Return whether it has numbers with a fraction, such as money."""
        return self.is_number and self.share(r"\d[.,]\d{1,2}(\D|$)") > _SOME_FRACTIONS

    @property
    def is_pieces(self) -> bool:
        """Return whether it has small whole numbers, and many ones, as quantities do."""
        whole = len(self.values) > 1 and self.share(r"^-?\d{1,6}([.,]0+)?$") >= 1 - (1 - UNIQUE) / 2
        return whole and self.share(r"^-?[1-9]([.,]0+)?$") >= 0.8 and self.share(r"^-?1([.,]0+)?$") >= 0.2

    @property
    def is_written_time(self) -> bool:
        """Return whether its texts are times, in one format or in several, and no plain numbers."""
        if self.share(r"^\d+([.,]\d+)?$") >= _FEW:
            return False
        return self.is_time or (self.time_share > _HALF and self.share(_DATE) > UNIQUE)

    @property
    def may_be_id(self) -> bool:
        """Return whether cells may be ids: neither times nor fractions, with more than one value."""
        if self.is_typed_time or self.filled < _FEW or len(self.values) < 2:
            return False
        return not self.is_written_time and self.share(r"^-?\d+[.,]\d*[1-9]$") < _FEW

    def share(self, pattern: str) -> float:
        """Return the share of cells that match a regular expression."""
        matches = pc.sum(pc.match_substring_regex(self.stated, pattern)).as_py() or 0
        return float(matches / max(1, len(self.stated)))


_LINK: Final = "^https?://"
_CELLS: Final = MappingProxyType[str, Callable[[Column], bool]](
    {
        **dict.fromkeys(("user", "device"), lambda one: one.may_be_id),
        "item": lambda one: one.may_be_id and not one.is_email,
        "time": lambda one: one.filled > SEVERAL and one.time_share > SEVERAL,
        # `Name` is an order if it holds #1001.
        "order": lambda one: plain(one.name) != "name" or one.share(r"^#?\w*\d+$") > 1 - _FEW,
        **dict.fromkeys(("quantity", "price", "total", "rating"), lambda one: one.is_number),
        **dict.fromkeys(("title", "category"), lambda one: not one.is_number),
        "brand": lambda one: len(one.values) > 1,
        **dict.fromkeys(("url", "image"), lambda one: one.share(_LINK) > 1 - SEVERAL),
        "consent_at": lambda one: one.is_time,
        **dict.fromkeys(("available", "placement", "position", "recommendation_id"), lambda one: one.filled > 0),
    }
)
"""What the cells of a column have to be for a role; other roles go by the name alone."""


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
    unnest: str | None = None
    """The list that the only object of a JSON file has its rows in."""

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Return the columns by name."""
        return {name: Column(name, self.rows[name]) for name in self.rows.column_names}

    def named(self, role: str) -> list[Column]:
        """Return the columns with a usual name of a role, the most usual names first."""
        ranked = [
            (place, order, name)
            for order, name in enumerate(self.columns)
            if (place := rank(name.removeprefix(f"{self.unnest}."), role)) is not None
        ]
        return [self.columns[name] for _, _, name in sorted(ranked)]

    def likely(self, role: str, taken: Container[str] = ()) -> list[Column]:
        """Return the columns that fit a role by their names and cells, the most usual names first."""
        fits = _CELLS.get(role, bool)
        return [one for one in self.named(role) if one.name not in taken and fits(one)]

    def free(self, taken: Container[str]) -> list[Column]:
        """Return the columns that are not taken."""
        return [one for one in self.columns.values() if one.name not in taken]


def overlap(some: Column, others: Column) -> float:
    """Return the share of different values that another column also has."""
    return len(some.values & others.values) / max(1, len(some.values))


def _day(text: str) -> str:
    parts = re.findall(r"\d+", text)
    return " ".join(sorted(part.lstrip("0") for part in parts[:3])) if len(parts) > 1 else text


def _whole(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return whole numbers as integers: 12.0 is the id 12."""
    with suppress(pa.ArrowInvalid):
        return cells.cast(pa.int64()) if pa.types.is_floating(cells.type) else cells
    return cells
