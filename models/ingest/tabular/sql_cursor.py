"""Define the keys of a part in a database, and positions in a growing column: their kinds, texts and overlap."""

import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation, localcontext
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from models.errors import TailorbirdError

CursorKind = Literal["time", "local time", "date", "number"]
"""A local time has no zone."""
Overlap = timedelta | int | float
_UNITS: Final = MappingProxyType({"s": "seconds", "m": "minutes", "h": "hours", "d": "days"})
_OVERLAP: Final = re.compile(r"(\d+(?:\.\d+)?) ?([smhd])")
_DIGITS: Final = 100
"""More digits than a number of a database has."""
_DEFAULTS: Final[MappingProxyType[CursorKind, Overlap]] = MappingProxyType(
    {"time": timedelta(minutes=10), "local time": timedelta(minutes=10), "date": timedelta(days=1), "number": 1000}
)


class CursorError(TailorbirdError):
    """A column cannot tell new rows from old ones, or a position does not fit it."""


@dataclass(frozen=True)
class CursorPosition:
    """A value of a cursor column, up to which all rows were read."""

    kind: CursorKind
    value: Any

    def __str__(self) -> str:
        """Return the value as the ledger stores it."""
        return self.value.isoformat() if isinstance(self.value, date) else str(self.value)

    @classmethod
    def of(cls, value: object, column: str) -> "CursorPosition":
        """Return the position of a value. Raises CursorError if it is no time and no number."""
        kind = kind_of(value)
        if kind is None:
            raise CursorError(
                f"The cursor {column!r} holds {_described(value)}. Name a column of times or numbers, or convert it in "
                "a query."
            )
        return cls(kind, value)

    @classmethod
    def parse(cls, kind: CursorKind, text: str) -> "CursorPosition":
        """Return the position of a text. Raises CursorError if it does not fit the kind."""
        try:
            if kind == "number":
                number = Decimal(text)
                if not number.is_finite():
                    raise ValueError
                return cls(kind, int(number) if number == number.to_integral_value() else number)
            if kind == "date":
                return cls(kind, date.fromisoformat(text))
            moment = datetime.fromisoformat(text)
        except (ValueError, InvalidOperation, ArithmeticError):
            raise CursorError(f"{text!r} is no {kind} that a cursor can start from; {_example(kind)}.") from None
        if kind == "time":
            return cls(kind, moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        if moment.tzinfo:
            raise CursorError(f"{text!r} has a time zone, and the cursor has none; {_example(kind)}.")
        return cls(kind, moment)

    def back(self, overlap: Overlap | None) -> "CursorPosition":
        """Return the position from which the next run reads. Raises CursorError for an overlap of another kind."""
        distance = _DEFAULTS[self.kind] if overlap is None else overlap
        if isinstance(distance, timedelta) != (self.kind != "number"):
            wanted = "a number such as 1000" if self.kind == "number" else "a duration such as 10m"
            raise CursorError(f"The overlap of a cursor that holds a {self.kind} is {wanted}.")
        if self.kind == "number":
            return CursorPosition(self.kind, _difference(self.value, distance))
        try:
            return CursorPosition(self.kind, self.value - distance)
        except OverflowError:
            return self

    @property
    def next_moment(self) -> datetime | None:
        """Return the first moment after the position, to the microsecond; None for other kinds.

        Databases may store nanoseconds, which Python cuts: all rows within a microsecond have the same position.
        """
        if not isinstance(self.value, datetime) or self.value.replace(tzinfo=None) == datetime.max:
            return None
        return self.value + timedelta(microseconds=1)


def _difference(number: Any, distance: Any) -> int | Decimal:
    """Return an exact difference: a rounded one could be above the position, and hide rows."""
    with localcontext(prec=_DIGITS):
        exact = Decimal(str(number)) - Decimal(str(distance))
    return int(exact) if exact == exact.to_integral_value() else exact


def kind_of(value: object) -> CursorKind | None:
    """Return the kind of a cursor value; None for other values."""
    if isinstance(value, datetime):
        return "local time" if value.tzinfo is None else "time"
    if isinstance(value, date):
        return "date"
    if isinstance(value, Decimal):
        return "number" if value.is_finite() else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number" if math.isfinite(value) else None
    return None


def _described(value: object) -> str:
    if isinstance(value, float | Decimal):
        return f"{value}, which is no number"
    return f"values of the type {type(value).__name__}"


def overlap_of(stated: str | int | float) -> Overlap:
    """Return an overlap. Raises ValueError for a text that is no duration, and for a negative number."""
    if isinstance(stated, str):
        match = _OVERLAP.fullmatch(stated.strip())
        if match:
            return timedelta(**{_UNITS[match[2]]: float(match[1])})
        try:
            stated = int(stated)
        except ValueError:
            raise ValueError(f"{stated!r} is no overlap; write 30s, 10m, 2h or 1d, or a number") from None
    if stated < 0:
        raise ValueError("an overlap is 0 or more")
    return stated


def _example(kind: CursorKind) -> str:
    examples = {"number": "120000", "date": "2026-03-01", "time": "2026-03-01T12:00:00Z"}
    return f"write one such as {examples.get(kind, '2026-03-01T12:00:00')}"


def _overlap(stated: str | int | float) -> str | int | float:
    overlap_of(stated)
    return stated


class SqlKeys(BaseModel):
    """The tables or the query of a part in a database, and the column by which new rows are found."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    table: str | list[str] = []
    """The table or view, with its schema if it needs one. Of a list, missing tables are skipped."""
    in_schema: str | None = Field(None, alias="schema", min_length=1)
    """The schema of tables whose names state none."""
    query: str | None = Field(None, min_length=1)
    """A SELECT to read instead of a table."""
    cursor: str | None = Field(None, min_length=1)
    """A column of times or numbers that grows with every new or changed row: each run continues after the value that
    the last one reached. Without it, each run reads all rows."""
    overlap: Annotated[str | int | float, AfterValidator(_overlap)] | None = None
    """How far below the last value a run begins, for rows that appear late: such as 30s, 10m, 2h or 1d, or a difference
    of numbers. By default 10m for times, 1d for dates and 1000 for numbers."""
    unnest: str | None = Field(None, min_length=1)
    """A column with a list of objects in JSON: each object becomes a row, and its fields replace columns of the same
    name."""

    @property
    def tables(self) -> list[str]:
        """Return the tables in the order in which they are read."""
        names = [self.table] if isinstance(self.table, str) else self.table
        return [f"{self.in_schema}.{name}" if self.in_schema and "." not in name else name for name in names]

    @property
    def window(self) -> Overlap | None:
        """Return the stated overlap."""
        return None if self.overlap is None else overlap_of(self.overlap)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.query and self.tables:
            raise ValueError("table and query are both given; keep one")
        if any(not name.strip() for name in self.tables):
            raise ValueError("a name of a table is empty; take it out")
        return self
