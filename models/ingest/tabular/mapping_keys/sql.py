"""Define the keys of [events.sql], [items.sql] and [users.sql] in a mapping file: where a part is in a database."""

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from models.ingest.tabular.sql_cursor import Overlap, overlap_of


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
