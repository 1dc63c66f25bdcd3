"""Defines the requests of an ingest from a database, and the streams of rows that they continue."""

import hashlib
from collections.abc import Mapping as Words
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypedDict, cast

from models.errors import TailorbirdError
from models.ingest.tabular.sql_cursor import SqlKeys
from models.ingest.tabular.table_mapping import Mapping
from models.ingest.tabular.transform import Part
from tasks.ingest.batch_identity import part_of
from tasks.sources.sql.database_address import storable

Dataset = Literal["items", "users", "events"]
DATASETS: Final[tuple[Dataset, ...]] = ("items", "users", "events")
"""In this order, because events are checked with the catalogue and with users' answers about consent."""


class SqlOptions(TypedDict, total=False):
    """Options of the command that replace keys of the mapping."""

    table: str
    schema: str
    query: str
    cursor: str
    overlap: str


@dataclass(frozen=True)
class SqlIngest:
    """The parameters of an ingest from a database."""

    mapping: str
    url: str
    """An address without secrets, or `env:NAME`."""
    overrides: Words[str, str]
    options: SqlOptions
    since: str | None = None


@dataclass(frozen=True)
class Stream:
    """A table or query that one part of a mapping reads."""

    dataset: Dataset
    name: str
    keys: SqlKeys

    def key(self, database: str) -> str:
        """Return the name by which the ledger finds its position: rows of another database are another stream."""
        query = hashlib.sha256(self.keys.query.encode()).hexdigest()[:12] if self.keys.query else ""
        return " ".join(filter(None, (f"{database}/{self.name}", query, self.keys.cursor)))


def streams_of(mapping: Mapping, options: SqlOptions, only: str | None = None) -> list[Stream]:
    """Return the streams of a mapping, catalogue first. Raises TailorbirdError for a part without a table."""
    streams = []
    for dataset in DATASETS:
        part: Part | None = getattr(mapping, dataset)
        if part is None or (only and only != dataset):
            continue
        keys = with_options(part.sql, options)
        if not keys.query and not keys.tables:
            raise TailorbirdError(
                f"The mapping {mapping.name!r} names no table for {dataset}. Add one, as in "
                f'[{dataset}.sql] table = "orders", or give --table or --query.'
            )
        names = [dataset] if keys.query else keys.tables
        streams += [Stream(dataset, name, keys) for name in names]
    if not streams:
        part_of(mapping, only or "events")  # type: ignore[call-overload]  # explains what is missing
    return streams


def with_options(keys: SqlKeys | None, options: SqlOptions) -> SqlKeys:
    """Return the keys of a part with the options of the command, which replace them."""
    from pydantic import ValidationError

    from models.primitives.config_faults import faults

    stated = keys.model_dump(exclude_defaults=True, by_alias=True) if keys else {}
    if "table" in options or "query" in options:
        stated = {name: value for name, value in stated.items() if name not in ("table", "query")}
    try:
        return SqlKeys.model_validate({**stated, **options})
    except ValidationError as error:
        raise TailorbirdError(f"The options cannot be used: {'; '.join(faults(SqlKeys, error))}.") from None


def sql_ingest(
    mapping: str,
    url: str,
    overrides: Words[str, str],
    since: str | None = None,
    options: Words[str, str | None] = MappingProxyType({}),
) -> SqlIngest:
    """Return a request with the options that are given. Raises SecretInAddressError for an address with secrets."""
    given = {name: value for name, value in options.items() if value}
    return SqlIngest(mapping, storable(url), overrides, cast("SqlOptions", given), since)
