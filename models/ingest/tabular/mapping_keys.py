"""Define the keys that every table of a mapping file has, and those of its place in a database."""

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from models.ingest.tabular.expressions import Condition, Expression, attribute_of, columns_of, direct, listed
from models.ingest.tabular.numbers import NumberForm
from models.ingest.tabular.sql_cursor import Overlap, overlap_of
from models.ingest.tabular.timestamps import format_fault, zone_fault


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


def _encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError(f"there is no encoding {name!r}; write a name such as utf-8, windows-1252 or utf-16") from None


def _zone(name: str) -> str:
    if fault := zone_fault(name):
        raise ValueError(fault)
    return name


def _time_format(stated: str | list[str]) -> str | list[str]:
    names = [stated] if isinstance(stated, str) else stated
    if not names:
        raise ValueError("time_format is an empty list; name at least one format")
    for name in names:
        if fault := format_fault(name):
            raise ValueError(fault)
    return stated


Zone = Annotated[str, AfterValidator(_zone)]
TimeFormat = Annotated[str | list[str], AfterValidator(_time_format)]
USUAL_YES: Final = ("true", "t", "yes", "y", "1", "given", "granted")


class TableMapping(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str | list[str] = []
    """Below the location: a name, a glob, a folder, or a list of them. Needed, unless the rows are in a
    database."""
    encoding: Annotated[str, AfterValidator(_encoding)] | None = None
    """The character encoding of a CSV file, such as utf-8, windows-1252 or utf-16; detected by default."""
    separator: str = Field(",", min_length=1, max_length=1)
    """The character between the values of a CSV file."""
    skip_lines: int = Field(0, ge=0, le=1_000)
    """The number of lines above the column names of a CSV file, such as a title."""
    decimal: Literal[".", ","] = "."
    """The decimal sign in numbers that are text."""
    thousands: Literal["", ",", ".", " ", "'", "_", "\N{RIGHT SINGLE QUOTATION MARK}"] = ""
    """The sign between groups of three digits in numbers that are text; a space may be a no-break one."""
    currency_signs: list[Annotated[str, Field(min_length=1, max_length=12)]] = []
    """Texts that may precede or follow a number, such as € or EUR."""
    optional: list[str] = []
    """Source columns that some files lack; a missing column is read as empty."""
    where: Condition | None = None
    """Reads only rows for which this is true; the others are counted as routed."""
    sql: SqlKeys | None = None
    """The same part in a database."""

    texts: ClassVar[tuple[str, ...]]
    """The keys that name columns of ids or words, in the order in which they are read."""
    numbers: ClassVar[tuple[str, ...]]
    """The keys that name columns of numbers."""
    mandatory: ClassVar[tuple[str, ...]]
    """The keys whose columns every file must have."""
    moments: ClassVar[tuple[str, ...]]
    """The keys that name columns of times."""

    if TYPE_CHECKING:
        time_format: TimeFormat
        # Each part declares it at its own position, because the names of batches depend on the order of keys.

    @property
    def needed(self) -> tuple[str, ...]:
        """Return the keys whose columns every file must have."""
        return self.mandatory

    @property
    def time_formats(self) -> list[str]:
        """Return the time formats in the order in which they are tried."""
        return [self.time_format] if isinstance(self.time_format, str) else self.time_format

    @property
    def form(self) -> NumberForm:
        """Return the form of numbers that are written as text."""
        return NumberForm(self.decimal, self.thousands, tuple(self.currency_signs))

    @model_validator(mode="after")
    def _separators_differ(self) -> Self:
        if self.thousands == self.decimal:
            raise ValueError(f"thousands and decimal are both {self.decimal!r}; a number would be ambiguous")
        return self

    def sources(self, keys: tuple[str, ...]) -> list[str | Expression]:
        """Return the columns and expressions that these keys name."""
        return [source for key in keys for source in listed(getattr(self, key))]

    def direct_columns(self, keys: tuple[str, ...]) -> list[str]:
        """Return the columns of the file that these keys name directly, each once."""
        return list(dict.fromkeys(direct(self.sources(keys))))

    @property
    def conditions(self) -> list[Expression]:
        """Return the expressions that select or mark rows."""
        return [self.where] if self.where else []

    @property
    def read(self) -> list[str]:
        """Return the columns of the file that this part reads, each once."""
        return columns_of([*self.sources(self.texts + self.numbers), *self.conditions])

    @property
    def expressions(self) -> list[Expression]:
        """Return the expressions that replace columns."""
        return [one for one in self.sources(self.texts + self.numbers) if isinstance(one, Expression)]

    @model_validator(mode="after")
    def _optional_columns_are_used_and_not_mandatory(self) -> Self:
        for column in self.optional:
            if column in self.direct_columns(self.needed):
                raise ValueError(f"the column {column!r} is needed in every row and cannot be optional")
            if column not in self.read:
                raise ValueError(f"optional names {column!r}, which no other key of this part reads")
        return self


def check_required(part: Any, names: Sequence[str]) -> None:
    for name in names:
        if getattr(part, name) is None or getattr(part, name) == []:
            raise ValueError(f"required names {name!r}, which no column is read for; name its column")
        if name in part.fill:
            raise ValueError(f"{name} is filled and required; keep one: a constant, or quarantine")


class FilledMapping(TableMapping):
    fill: dict[str, str | int | float] = {}
    """Constants for null values. `<name>_imputed` among the attributes marks each replaced value."""

    @model_validator(mode="after")
    def _filled_keys_are_read(self) -> Self:
        own = [key for key in ("category", "brand", "price") if getattr(self, key, None) is not None]
        for name, constant in self.fill.items():
            if name not in (known := [*own, *map(attribute_of, listed(getattr(self, "attributes", None)))]):
                raise ValueError(f"fill names {name!r}, which it cannot fill here; it can fill: {', '.join(known)}")
            if name == "price" and isinstance(constant, str):
                raise ValueError("fill.price has to be a number; write it without quotes")
        return self
